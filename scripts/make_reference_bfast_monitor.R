# Expected values for BFAST Monitor: testdata/reference/bfast_monitor.json.
#
# Simulated series of 2016-2022, irregular dates, half of them cloudy, judged with the monitoring tests of R strucchange
# (efp, sctest, boundary, mefp, monitor) in the order that Verbesselt et al. 2012 describe. Run in the repository:
#
#   apt-get install r-base-core r-cran-strucchange r-cran-jsonlite     # made with R 4.2.2, strucchange 1.5-3
#   Rscript scripts/make_reference_bfast_monitor.R

suppressMessages(library(strucchange))
library(jsonlite)

set.seed(20240501)
calendar <- function(dates) { # years of 365 days; 29 February counts as 1 March
  d <- as.POSIXlt(dates)
  before <- cumsum(c(0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30))
  (1900 + d$year) * 365 + before[d$mon + 1] + d$mday - 1
}

days <- as.Date("2016-01-03") + cumsum(sample(c(5, 5, 10, 15, 3), 290, replace = TRUE))
days <- sort(unique(c(days[days < as.Date("2022-12-31")], as.Date("2020-02-29"))))
step <- calendar(days)
start <- as.Date("2020-07-01")
year <- step / 365
season <- 0.55 + 0.2 * sin(2 * pi * year - 1.3) + 0.06 * cos(4 * pi * year)
noise <- function(sd) rnorm(length(days), 0, sd)
from <- function(day) as.numeric(days >= as.Date(day))
series <- list(
  stable       = season + noise(0.03),
  loss         = season + noise(0.03) - 0.25 * from("2021-06-10"),
  weak_loss    = season + noise(0.03) - 0.05 * from("2021-01-15"),
  gain         = season + noise(0.02) + 0.15 * from("2020-09-20"),
  cleared_before = season + noise(0.03) - 0.2 * from("2017-05-01") + 0.2 * from("2018-04-01"),
  unstable_then_loss = season + noise(0.025) - 0.15 * from("2018-02-01") - 0.1 * from("2021-09-01"),
  decline      = season + noise(0.03) - 0.05 * (year - 2016) * from("2019-01-01"),
  recovering   = season + noise(0.04) - 0.3 * from("2020-08-01") * exp(-2 * pmax(year - 2020.58, 0))
)
series <- lapply(series, function(y) { y[runif(length(y)) < 0.45] <- NA; round(y, 6) })
# Dates that repeat in the year: the first reversed observations do not determine three harmonics.
repeated <- season + noise(0.03) - 0.2 * from("2021-06-10")
repeated[!(step %% 365 %in% unique(step %% 365)[c(TRUE, FALSE)])] <- NA
few <- which(days < start & days >= as.Date("2019-03-01"))
repeated[few][-unique(round(seq(1, length(few), length.out = 14)))] <- NA
series$sparse_before_start <- round(repeated, 6)

settings <- list()
add <- function(...) settings[[length(settings) + 1]] <<- modifyList(list(process = "ols-mosum", order = 3, trend = TRUE,
  h = 0.25, period = 10, level = 0.05, history = "roc"), list(...))
add()
add(order = 1)
add(order = 2, trend = FALSE)
add(order = 3, trend = FALSE, history = "all")
add(order = 1, trend = FALSE, level = 0.01)
add(h = 0.5)
add(h = 1)
add(h = 1, history = "all", level = 0.001)
add(h = 0.5, period = 2, level = 0.025, order = 2)
add(h = 0.25, period = 4, level = 0.001, history = "2018-06-01", order = 2)
add(h = 0.25, period = 6, level = 0.01)
add(h = 0.5, period = 8, level = 0.025, order = 1)
add(process = "ols-cusum")
add(process = "ols-cusum", order = 1, level = 0.01)
add(process = "ols-cusum", order = 2, trend = FALSE, history = "all", level = 0.001)
add(process = "ols-cusum", order = 2, level = 0.025, history = "2017-09-15")

judge <- function(y, s) {
  clear <- which(!is.na(y))
  harmonics <- outer(2 * pi * year[clear], seq_len(s$order))
  x <- cbind(if (s$trend) step[clear] - step[1] + 1, cos(harmonics), sin(harmonics))
  colnames(x) <- paste0("x", seq_len(ncol(x)))
  data <- data.frame(y = y[clear], x)
  before <- which(days[clear] < start)
  formula <- reformulate(colnames(x), "y")
  first <- 1
  if (s$history == "roc") {
    reversed <- data[rev(before), ]
    test <- efp(formula, data = reversed, type = "Rec-CUSUM")
    if (anyNA(test$process)) stop("the recursion broke down")
    p <- sctest(test)$p.value
    if (p < s$level) {
      crossed <- which(abs(test$process) > boundary(test))[1]       # 1 is the 0 before the first residual
      kept <- ncol(x) + 1 + (crossed - 1) - 1                         # rows before the crossing one
      first <- length(before) - kept + 1
    }
  } else if (s$history != "all") {
    first <- which(days[clear] >= as.Date(s$history))[1]
  }
  history <- data[first:length(before), ]
  all <- data[first:nrow(data), ]
  monitored <- monitor(mefp(formula, data = history, type = toupper(s$process), h = s$h, period = s$period, alpha = s$level),
    data = all, verbose = FALSE)
  model <- lm(formula, data = history)
  residual <- all$y - predict(model, newdata = all)
  position <- clear[first:nrow(data)]
  list(
    history_first = position[1] - 1,
    history = nrow(history),
    sigma = summary(model)$sigma,
    magnitude = median(residual[-seq_len(nrow(history))]),
    process = as.vector(monitored$process),
    detected = if (is.na(monitored$breakpoint)) NA else position[monitored$breakpoint] - 1
  )
}

cases <- list()
for (name in names(series)) for (s in settings) {
  expected <- tryCatch(judge(series[[name]], s), error = function(e) { message(name, ": ", conditionMessage(e)); NULL })
  if (!is.null(expected)) cases[[length(cases) + 1]] <- c(list(series = name), list(settings = s), expected)
}
message(length(cases), " cases, ", sum(!sapply(cases, function(c) is.na(c$detected))), " breaks, ",
  sum(sapply(cases, function(c) c$history_first > 5)), " shortened histories")
write_json(list(
  about = "scripts/make_reference_bfast_monitor.R; R strucchange",
  days = as.integer(days), monitor_start = start, series = series, cases = cases
), "testdata/reference/bfast_monitor.json", auto_unbox = TRUE, digits = I(11), na = "null", null = "null")

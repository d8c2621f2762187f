//! Every phrase of the report, in Chinese and English. `{}` stands for what the run tells, in order.

/// A phrase in both languages.
#[derive(Debug, Clone, Copy)]
pub struct Both {
    /// Chinese.
    pub zh: &'static str,
    /// English.
    pub en: &'static str,
}

impl Both {
    /// Both in one line.
    pub fn joined(self) -> String {
        format!("{} {}", self.zh, self.en)
    }
}

const fn both(zh: &'static str, en: &'static str) -> Both {
    Both { zh, en }
}

/// Puts values into the places of a phrase.
pub fn fill(phrase: &str, values: &[&str]) -> String {
    let mut parts = phrase.split("{}");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for (i, part) in parts.enumerate() {
        out.push_str(values.get(i).copied().unwrap_or("–"));
        out.push_str(part);
    }
    out
}

pub const TITLE: Both = both("林碳运行报告", "Forest carbon run report");
pub const LEAD: Both = both(
    "林碳（lintan）读取森林地块上的卫星影像，逐地块给出看到了什么：森林损失的日期、面积和轮廓，碳储量，碳储量变化及其不确定性。本报告概括一次运行；报告中每个数字都来自该次运行的数据表，运行记录 run.json 列出全部输入、设置和输出文件及其 SHA-256 摘要，可据以核对和重算。",
    "lintan reads satellite images over forest parcels and tells for each parcel what they saw: dates, areas and outlines of forest losses, carbon stocks, and carbon change with its uncertainty. This report sums up one run. Every figure comes from the tables of that run; its record run.json lists all inputs, settings and outputs with their SHA-256 digests, by which they can be checked and computed again.",
);
pub const SIGN: Both = both(
    "碳变化以增加为正、损失为负。区间均为 90 % 区间：在所述误差来源之内，真值有 90 % 的可能落在其中。每列数字的小数位数相同，由该列的标准误决定（标准误中位数取两位有效数字）。t 为吨；t C 为吨碳；t CO₂e 为吨二氧化碳当量（碳 × 44/12）；ha 为公顷（1 ha = 15 亩）。表中“–”表示没有该值。",
    "Of carbon change, growth is positive and loss negative. Intervals are 90 % intervals: as far as the stated sources of error go, the true value lies within with a probability of 90 %. A column has one number of decimals, by its standard errors (two significant digits of their median). t is the tonne; t C tonnes of carbon; t CO₂e tonnes of carbon dioxide equivalent (carbon × 44/12); ha the hectare (15 mu). A dash means: no value.",
);

pub const RUN: Both = both("一、运行内容", "1. What was run");
pub const STATUS: Both = both("二、结果的地位", "2. What the figures may be used for");
pub const TOTALS: Both = both("三、合计", "3. Totals");
pub const DELTAS: Both = both("四、各地块碳变化", "4. Carbon change by parcel");
pub const STOCKS: Both = both("五、各地块碳储量", "5. Carbon stock by parcel");
pub const EVENTS: Both = both("六、扰动", "6. Disturbances");
pub const ASIDE: Both = both("七、未纳入的地块和影像及其原因", "7. What was set aside, and why");
pub const INVARIANTS: Both = both("八、数字的自洽检查", "8. Checks that the figures must pass");
pub const ERRORS: Both = both("九、误差如何传递", "9. How errors were propagated");
pub const ORIGINS: Both = both("十、碳数字的方法与来源", "10. Method and source of the carbon figures");
pub const FLAGS: Both = both("十一、备注代码", "11. Remarks by letter");
pub const CITATIONS: Both = both("十二、方法文献", "12. Works that describe the methods");
pub const INPUTS: Both = both("十三、输入与输出文件", "13. Input and output files");
pub const LIMITS: Both = both("十四、局限", "14. Limits");

pub const PROJECT: Both = both("项目", "project");
pub const PERIODS: Both = both("核算期", "periods");
pub const PARCELS: Both = both("地块", "parcels");
pub const PARCELS_READ: Both = both(
    "图层中 {} 个，可用 {} 个，其中 {} 个有碳变化数字",
    "{} in the layer, {} usable, {} of them with figures of carbon change",
);
pub const PARCEL_LAYER: Both = both("地块图层", "parcel layer");
pub const SCENES: Both = both("影像", "scenes");
pub const SCENES_USED: Both = both("{} 景，{} 至 {}", "{} scenes, {} to {}");
pub const NO_SCENES: Both = both("无", "none");
pub const CHANGE_METHODS: Both = both("扰动检测方法", "change methods");
pub const BIOMASS_METHODS: Both = both("碳储量方法", "biomass methods");
pub const SOFTWARE: Both = both("软件版本", "software");
pub const RUN_ID: Both = both("运行编号", "run");
pub const TIMES: Both = both("运行时间（UTC）", "time (UTC)");
pub const FROM_TO: Both = both("{} 至 {}", "{} to {}");
pub const SETTINGS_DIGEST: Both = both("设置的 SHA-256", "SHA-256 of the settings");
pub const RECORD_DIGEST: Both = both("run.json 的 SHA-256", "SHA-256 of run.json");
pub const PARAMETER_SET: Both = both("参数集", "parameter set");
pub const VERSION: Both = both("版本", "version");
pub const NAMES_DIGEST: Both = both("树种名称表的 SHA-256", "SHA-256 of the names of species");
pub const SET_DIGEST: Both = both("参数集的 SHA-256", "SHA-256 of the set");
pub const APPROVED: Both = both("参数集批准", "approval of the set");
pub const APPROVED_BY: Both = both("{} 于 {} 批准", "approved by {} on {}");
pub const NOT_APPROVED: Both = both("未批准", "not approved");
pub const NONE: Both = both("无", "none");
pub const SENSOR: Both = both("卫星", "sensor");
pub const FIRST: Both = both("最早", "first");
pub const LAST: Both = both("最晚", "last");

pub const NO_CARBON: Both = both(
    "本次运行没有计算碳储量和碳变化：配置中没有 [biomass.*] 和 [account] periods，或没有地块可以计算。",
    "This run computed no carbon stocks and no changes: its configuration has no [biomass.*] with [account] periods, or no parcel allowed it.",
);
pub const COUNT_ALL_SCREENING: Both = both(
    "本次运行的 {} 个碳变化数字和 {} 个碳储量数字全部仅供筛查（screening_only），没有一个可以签发。",
    "All {} figures of carbon change and all {} of carbon stock are for screening only (screening_only); none may be issued.",
);
pub const COUNT_STATUS: Both = both(
    "碳变化数字 {} 个：可签发（issuable）{} 个，仅供筛查（screening_only）{} 个。碳储量数字 {} 个：可签发 {} 个，仅供筛查 {} 个。",
    "Figures of carbon change: {}, of which {} issuable and {} screening_only. Figures of carbon stock: {}, of which {} issuable and {} screening_only.",
);
pub const MEANS_SCREENING: Both = both(
    "仅供筛查（screening_only）：只可用于排序和发现需要核查的地块，不得据以签发碳票、入账或直接定案。",
    "screening_only: to rank parcels and to find those that need a closer look. Nothing may be credited, booked or decided from it.",
);
pub const MEANS_ISSUABLE: Both = both(
    "可签发（issuable）：方法和数据允许签发；未经批准的参数集或模型须先由负责人批准；是否签发，由指定的规则和负责人决定，本软件不作决定。",
    "issuable: method and data allow the figure to be issued; a parameter set or model that nobody has approved must be approved first; whether it is issued, a named rule and a person decide, never this program.",
);
pub const CONTAINS_ZERO: Both = both(
    "{} 个碳变化数字中，{} 个的 90 % 区间包含零：这些地块未能证明碳储量有变化。",
    "Of {} figures of carbon change, {} have a 90 % interval that contains zero: no change is shown for those parcels.",
);
pub const DEDUCTION: Both = both("扣减规则：{}。", "Deduction scheme: {}.");
pub const NO_DEDUCTION: Both = both(
    "配置未指定扣减规则，因此没有可计入量。",
    "The configuration names no deduction scheme, so there is no creditable quantity.",
);
pub const UNAPPROVED_SET: Both = both("参数集未经任何人批准。", "Nobody has approved the parameter set.");

pub const GROUP: Both = both("范围", "group");
pub const QUANTITY: Both = both("量", "quantity");
pub const DATES: Both = both("日期", "dates");
pub const POOL: Both = both("碳库", "pool");
pub const AREA: Both = both("面积", "area");
pub const CI90: Both = both("90 % 区间", "90 % interval");
pub const RELATIVE: Both = both("相对不确定性（90 %）", "relative uncertainty (90 %)");
pub const TOTALS_NOTE: Both = both(
    "地块之间共有的误差（参数、模型）完全相加，各自的误差相互抵消，因此合计的区间不等于各地块区间之和。两个地块共有的土地只计一次。相对不确定性为 90 % 区间半宽与合计大小之比。",
    "Errors that parcels share (parameters, models) add up in full and those of their own cancel, so the interval of a total is not the sum of the parcels' intervals. Ground that two parcels share counts once. Relative uncertainty is half of the 90 % interval over the size of the sum.",
);

pub const CREDITABLE_TOTAL: Both = both(
    "{} 至 {} 可计入量合计（扣减规则 {}）：可计入的 {} 个地块（共有 {} 个地块的类别允许计入）合计 {} t CO₂e，90 % 区间 {}。",
    "Creditable in total, {} to {} (deduction scheme {}): {} parcels of {} whose kind may be credited, {} t CO₂e, 90 % interval {}.",
);
pub const CREDITABLE_NOTHING: Both = both(
    "{} 至 {} 可计入量合计（扣减规则 {}）：0 t CO₂e，没有任何地块可以计入。",
    "Creditable in total, {} to {} (deduction scheme {}): 0 t CO₂e; nothing may be credited of any parcel.",
);
pub const CREDITABLE_LACKING: Both = both(
    "{} 至 {}：该次运行的 tables/totals.parquet 没有可计入量合计（由较早版本生成）。各地块的区间不能相加，因此这里不给出合计；请重新运行。",
    "{} to {}: tables/totals.parquet of this run has no total of what is creditable (it is of an earlier version). Intervals of parcels cannot be added up, so no total is given; run again.",
);
pub const CREDITABLE_NOTE: Both = both(
    "合计是各地块可计入量之和，每个地块先按其自身的不确定性扣减；共有的土地只计一次。区间是扣减后变化量的 90 % 区间，由各地块共同的抽取结果相加得出，包含地块之间的相关。对照地块和受损地块、仅供筛查的数字、损失以及超过规则允许不确定性的数字不计入。",
    "The total is the sum of what may be credited of each parcel, each deducted by its own uncertainty first; ground that parcels share counts once. The interval is that of the changes after deduction, made by adding up the draws that the parcels share, so it holds their correlation. Controls and damaged parcels, figures for screening only, losses, and figures more uncertain than the rule allows do not enter.",
);
pub const NOT_CREDITABLE_NOTE: Both = both(
    "“– 对照”：对照地块用于比较，其增长不计入。“– 受损”：受损地块上的增长只是弥补损失，不计入。",
    "“– control”: a reference parcel is what others are compared with; its growth is not credited. “– loss”: growth on damaged land makes good a loss and is not credited.",
);

pub const PARCEL: Both = both("地块", "parcel");
pub const KIND: Both = both("类别", "kind");
pub const CHANGE: Both = both("碳变化", "change");
pub const ANNUAL: Both = both("每年每公顷", "per year and hectare");
pub const DISTURBED: Both = both("其中受扰动", "disturbed");
pub const DID: Both = both("超出对照的变化 [90 %]", "beyond the reference [90 %]");
pub const GAIN_LOSS: Both = both("增减法", "by gain and loss");
pub const DEDUCTED: Both = both("扣减", "deduction");
pub const CREDITABLE: Both = both("可计入量", "creditable");
pub const USE: Both = both("地位", "use");
pub const REMARKS: Both = both("备注", "remarks");
pub const PERIOD: Both = both("核算期 {} 至 {}", "Period {} to {}");
pub const LEFT_OUT_DELTAS: Both = both(
    "共 {} 个地块，此处列出增加最多和损失最多的 {} 个，按碳变化排序；其余 {} 个见 tables/deltas.parquet。",
    "Of {} parcels the {} with the largest gains and losses are listed, by change; the other {} are in tables/deltas.parquet.",
);
pub const LEFT_OUT_PICTURE: Both = both(
    "图中画出增加最多和损失最多的 {} 个地块，从零画起；其余 {} 个地块合计 {} t CO₂e，未画出。",
    "Drawn are the {} parcels with the largest gains and losses, from zero; the other {} parcels, {} t CO₂e together, are not drawn.",
);
pub const LEFT_OUT_PERIODS: Both = both(
    "共有 {} 个核算期，此处只列前 {} 个；其余见 tables/deltas.parquet。",
    "Of {} periods the first {} are shown; the others are in tables/deltas.parquet.",
);
pub const LEFT_OUT_STOCKS: Both = both(
    "图和表只列储量最大的若干地块：图 {} 个，表 {} 个，共 {} 个；全部见 tables/stocks.parquet。",
    "Picture and table show the parcels with the largest stocks: {} in the picture, {} in the table, of {}; all are in tables/stocks.parquet.",
);
pub const SHARED_GROUND: Both = both("重叠只计一次", "overlap counted once");
pub const TOTAL: Both = both("合计", "total");
pub const INTERVAL: Both = both("90 % 区间", "90 % interval");
pub const GAIN: Both = both("增加", "gain");
pub const LOSS: Both = both("损失", "loss");
pub const AXIS_DELTA: Both = both("碳变化，逐地块累计（t CO₂e）", "change of carbon, parcel after parcel (t CO₂e)");
pub const AXIS_DELTA_ALONE: Both = both("碳变化（t CO₂e）", "change of carbon (t CO₂e)");
pub const AXIS_STOCK: Both = both("碳储量（t C）", "carbon stock (t C)");
pub const AXIS_SHARE: Both = both("占方差的份额（%）", "share of the variance (%)");
pub const PICTURE_WATERFALL: Both = both("碳变化瀑布图", "Waterfall of the changes");
pub const PICTURE_STOCKS: Both = both("各地块碳储量图", "Stock by parcel");
pub const PICTURE_MAP: Both = both("地块碳变化地图", "Map of the changes");
pub const PICTURE_SHARES: Both = both("方差来源图", "Where the variance comes from");
pub const CAPTION_WATERFALL: Both = both(
    "图：各地块碳变化，{} 至 {}。每条从上一条的终点开始，最后一行为合计。细线为该地块的 90 % 区间，从该条的起点量起。右侧：t CO₂e 及 90 % 区间。",
    "Change of each parcel, {} to {}. Each bar begins where the one above ends; the last row is the total. Thin lines are the parcel's 90 % interval, measured from the beginning of its bar. On the right: t CO₂e and 90 % interval.",
);
pub const CAPTION_LARGEST: Both = both(
    "图：增加最多和损失最多的地块的碳变化，{} 至 {}。细线为 90 % 区间。右侧：t CO₂e 及 90 % 区间。",
    "Change of the parcels with the largest gains and losses, {} to {}. Thin lines are 90 % intervals. On the right: t CO₂e and 90 % interval.",
);
pub const CAPTION_MAP: Both = both(
    "图：各地块每公顷碳变化，{} 至 {}。斜线：90 % 区间包含零，未能证明有变化。深色轮廓：该期内的森林损失（按损失后首个晴空日期）。空白处是没有碳变化数字的地块或地块以外。经纬度为 WGS 84。",
    "Change per hectare of each parcel, {} to {}. Hatched: the 90 % interval contains zero, no change is shown. Dark outlines: forest losses within the period (by the first clear date after the loss). Blank: parcels without figures of change, or no parcel. Longitude and latitude on WGS 84.",
);
pub const CAPTION_EVENT_MAP: Both = both(
    "图：本次运行找到的全部森林损失的轮廓。经纬度为 WGS 84。",
    "Outlines of all forest losses that the run found. Longitude and latitude on WGS 84.",
);
pub const CAPTION_STOCKS: Both = both(
    "图：各地块碳储量（全部碳库合计）及 90 % 区间。右侧：最后日期的 t C 及 90 % 区间。",
    "Carbon stock of each parcel (all pools together) with its 90 % interval. On the right: t C at the last date, with its 90 % interval.",
);
pub const CAPTION_SHARES: Both = both(
    "图：误差从哪里来。条为各地块份额的中位数，细线为最低到最高。份额是只让这一部分变动时的方差占全部方差之比；各部分相互作用，因此相加不一定为 100 %。右侧：储量 / 变化的中位数。",
    "Where the errors come from. Bars are the median share over the parcels, thin lines go from the lowest to the highest. A share is the variance when only this part varies, over the whole variance; parts interact, so that shares need not add up to 100 %. On the right: medians of stock / change.",
);
pub const PER_HECTARE: Both =
    both("每公顷碳变化（t CO₂e/ha，整个核算期）", "change per hectare (t CO₂e/ha, whole period)");
pub const HATCHED: Both = both("90 % 区间包含零", "90 % interval contains zero");
pub const OUTLINE_OF: Both = both("森林损失：{}", "forest loss: {}");
pub const NORTH_UP: Both = both("上为北", "north is up");
pub const OF_STOCK: Both = both("储量", "stock");
pub const OF_DELTA: Both = both("变化", "change");
pub const RANGE_OVER_PARCELS: Both = both("各地块最低至最高", "lowest to highest parcel");

pub const DATE: Both = both("日期", "date");
pub const DENSITY: Both = both("合计密度", "density of the total");
pub const STOCK_TOTAL: Both = both("合计", "total");

pub const EVENTS_NOTE: Both = both(
    "扰动由卫星像元的变化得出，不说明原因（采伐、火灾、病虫害、风倒等），也不等于违法。“发生于”是损失前后两个晴空日期之间的区间。幅度为植被指数的平均变化，负值为损失；概率是方法所能给出的变化为真的概率。误报率：同一方法在本次运行的无扰动对照地块（类别 reference）上每地块每年的报警数，及其单侧 95 % 上限。",
    "Disturbances are changes of satellite pixels. They do not tell the cause (harvest, fire, pest, wind), and none is an offence by itself. The loss lies between the last clear date before and the first clear date after it. Magnitude is the mean change of the vegetation index, negative for loss; probability is that of the change being real, as far as the method can tell. False alarms: alarms of the same method a parcel and year at this run's undisturbed reference parcels (kind reference), with the upper end of the one-sided 95 % interval.",
);
pub const NO_EVENTS: Both = both(
    "没有扰动：变化检测方法没有找到，或没有配置（[change.*]）。",
    "No disturbances: no change method found any, or none is configured ([change.*]).",
);
pub const ALARMS: Both = both(
    "{}：{} 个无扰动对照地块，{} 地块·年，报警 {} 次；误报每地块每年 {} 次，单侧 95 % 上限 {} 次。",
    "{}: {} undisturbed reference parcels, {} parcel years, {} alarms; {} false alarms a parcel and year, at most {} (one-sided 95 %).",
);
pub const LEFT_OUT_EVENTS: Both = both(
    "此处列出 {} 个扰动中面积最大的 {} 个；其余见 tables/disturbances.parquet。",
    "Of {} disturbances the {} largest by area are listed; the others are in tables/disturbances.parquet.",
);
pub const METHOD: Both = both("方法", "method");
pub const BETWEEN: Both = both("发生于", "between");
pub const DECIDED: Both = both("判定于", "decided on");
pub const AREA_HALF: Both = both("面积 ± 90 % 区间半宽", "area ± half of the 90 % interval");
pub const MAGNITUDE: Both = both("幅度", "magnitude");
pub const PROBABILITY: Both = both("概率", "probability");
pub const CONTROL: Both = both("对照变化", "change of the reference");
pub const FALSE_ALARMS: Both = both("误报率（单侧 95 % 上限）", "false alarms (one-sided 95 % bound)");

pub const NOTHING_ASIDE: Both = both("没有：所有地块和影像都已使用。", "Nothing: every parcel and scene was used.");
pub const ASIDE_NOTE: Both = both(
    "不能可靠判断的地块或影像不作猜测，列在这里和 quarantine.parquet 中，其余照常计算。",
    "A parcel or scene that cannot be judged is not guessed at; it stands here and in quarantine.parquet, and the rest goes on.",
);
pub const REASON: Both = both("原因", "reason");
pub const STAGE: Both = both("阶段", "stage");
pub const SUBJECT: Both = both("对象", "subject");
pub const NUMBER: Both = both("数量", "count");
pub const ID: Both = both("编号", "id");
pub const MESSAGE: Both = both("说明", "message");
pub const FIRST_ONES: Both = both("前 {} 条（共 {} 条）", "The first {} of {}");
pub const NOTES: Both = both("关于地块图层的提示", "Remarks on the parcel layer");

pub const CHECK: Both = both("检查", "check");
pub const CHECKED: Both = both("检查次数", "checked");
pub const VIOLATED: Both = both("不符次数", "violated");
pub const WORST: Both = both("最大相对差", "largest relative difference");
pub const ALL_HOLD: Both = both(
    "每次运行都检查碳数字是否自洽。本次全部符合。",
    "Every run checks that its carbon figures agree with each other. All of them do.",
);
pub const SOME_FAIL: Both = both(
    "注意：有 {} 项检查不符。这是软件的错误，请勿使用本报告的碳数字，并报告给开发者。",
    "Attention: {} checks are violated. That is a mistake of the program: do not use the carbon figures of this report, and report it.",
);
pub const NO_CHECKS: Both = both("没有碳数字可检查。", "There are no carbon figures to check.");

pub const ERRORS_NOTE: Both = both(
    "误差用蒙特卡洛模拟传递：每个误差来源（参数、植被指数、面积等）按其分布抽取 {} 次，每次抽取用于所有地块和所有日期的同一来源，因此两个日期共有的误差在差值中抵消，地块共有的误差在合计中相加。区间的两端是抽取结果的百分位数。种子固定为 {}，同样的输入得到同样的数字。",
    "Errors were propagated by Monte Carlo simulation: each source of error (parameters, index, area) was drawn {} times by its distribution, and one draw serves all parcels and all dates that share the source, so that errors common to two dates cancel in a difference and those common to parcels add up in a total. The ends of an interval are percentiles of the draws. The seed is fixed at {}: the same inputs give the same figures.",
);
pub const NO_ERRORS: Both = both("没有碳数字，也就没有抽取。", "There are no carbon figures, so nothing was drawn.");
pub const ALGORITHM: Both = both("算法", "algorithm");
pub const SEED: Both = both("种子", "seed");
pub const DRAWS: Both = both("抽取次数", "draws");

pub const ORIGIN_STOCK: Both = both("储量的方法", "Stocks");
pub const ORIGIN_MODEL: Both = both("生物量模型及其检验", "The biomass model and its validation");
pub const ORIGIN_PARAMETERS: Both = both("参数", "Parameters");
pub const ORIGIN_CHANGE: Both = both("碳变化的方法", "Changes");
pub const ORIGIN_DEDUCTION: Both = both("不确定性扣减", "Deduction for uncertainty");
pub const ORIGIN_ERRORS: Both = both("区间的方法", "Intervals");

/// How the stocks of a method are made, and who says so.
pub fn formula(method: &str, form: &str) -> Both {
    match (method, form) {
        ("tier1_cover", _) => both(
            "tier1_cover：碳储量 = 面积 × D × c × CF × (1 + R)。D：全覆盖森林的默认地上生物量；c = (指数 − index_bare) / (index_full − index_bare)，截取到 0 至 1（Gutman and Ignatov 1998, International Journal of Remote Sensing 19:1533–1543）；CF：含碳率；R：根茎比。来源：IPCC 2006 指南第 4 卷第 2、4 章，第一层级。",
            "tier1_cover: stock = area × D × c × CF × (1 + R). D: default aboveground biomass of full cover; c = (index − index_bare) / (index_full − index_bare), cut to 0 to 1 (Gutman and Ignatov 1998, International Journal of Remote Sensing 19:1533–1543); CF: carbon fraction; R: root-to-shoot ratio. Source: IPCC 2006 Guidelines, Volume 4, Chapters 2 and 4, Tier 1.",
        ),
        ("inventory", "expansion") => both(
            "inventory：碳储量 = 面积 × V(t) × BCEF × (1 + R) × CF × 转移误差 × 保留比例（IPCC 2006 指南第 4 卷第 2 章公式 2.8）。V(t)：调查蓄积按所述生长量推算到该日期；BCEF：生物量转换与扩展系数，按蓄积分级；R：根茎比；CF：含碳率；保留比例：卫星所见未损失的份额。",
            "inventory: stock = area × V(t) × BCEF × (1 + R) × CF × transfer × retained (IPCC 2006 Guidelines, Volume 4, Chapter 2, Equation 2.8). V(t): growing stock of the survey, grown to the date as stated; BCEF: biomass conversion and expansion factor, by class of growing stock; R: root-to-shoot ratio; CF: carbon fraction; retained: the share that the satellite saw standing.",
        ),
        ("inventory", "linear") => both(
            "inventory：碳储量 = 面积 × (a V(t) + b) × CF × 转移误差 × 保留比例（方精云等 Fang et al. 2001, Science 292:2320–2322）。a V + b 已包含根，R 只用于把总量分为地上和地下。V(t)：调查蓄积按所述生长量推算到该日期；保留比例：卫星所见未损失的份额。",
            "inventory: stock = area × (a V(t) + b) × CF × transfer × retained (Fang et al. 2001, Science 292:2320–2322). a V + b has the roots in it; R only splits it. V(t): growing stock of the survey, grown to the date as stated; retained: the share that the satellite saw standing.",
        ),
        ("inventory", "density") => both(
            "inventory：碳储量 = 面积 × V(t) × D × BEF × (1 + R) × CF × 转移误差 × 保留比例（AR-CM-001-V01《碳汇造林项目方法学》和第二次国家信息通报的参数）。D：基本木材密度；BEF：生物量扩展系数；R：根茎比；CF：含碳率；V(t)：调查蓄积按所述生长量推算到该日期；保留比例：卫星所见未损失的份额。",
            "inventory: stock = area × V(t) × D × BEF × (1 + R) × CF × transfer × retained (AR-CM-001-V01 and the parameters of the Second National Communication of China). D: basic wood density; BEF: biomass expansion factor; R: root-to-shoot ratio; CF: carbon fraction; V(t): growing stock of the survey, grown to the date as stated; retained: the share that the satellite saw standing.",
        ),
        ("index_model", _) => both(
            "index_model：碳储量 = 面积 × AGB × CF × (1 + R)。AGB：由植被指数预测的地上生物量在地块像元上的加权平均，模型由本项目的样地拟合，见下；CF、R：参数集。",
            "index_model: stock = area × AGB × CF × (1 + R). AGB: weighted mean over the parcel's pixels of the aboveground biomass that a model predicts from vegetation indices; the model was fitted to field plots, see below. CF and R: parameter set.",
        ),
        ("agb_map", _) => both(
            "agb_map：碳储量 = 面积 × AGB × CF × (1 + R) × 保留比例。AGB：外部生物量图在地块精确足迹上的加权平均，误差取自其误差图并考虑空间相关；图的文件和来源见设置；CF、R：参数集。",
            "agb_map: stock = area × AGB × CF × (1 + R) × retained. AGB: mean of an external biomass map over the exact footprint of the parcel, with the errors of its map of errors, correlated over distance; files and origin of the map stand in the settings. CF and R: parameter set.",
        ),
        _ => UNKNOWN,
    }
}

pub const METHOD_SETTINGS: Both = both("[biomass.{}] 的设置：", "Settings of [biomass.{}]:");
pub const MODEL_NAME: Both = both("模型", "model");
pub const MODEL_FILE: Both = both("模型文件", "model file");
pub const MODEL_DIGEST: Both = both("模型文件的 SHA-256", "SHA-256 of the file");
pub const MODEL_APPROVED: Both = both("模型批准", "approval of the model");
pub const MODEL_FORM: Both = both("公式", "formula");
pub const MODEL_SEASON: Both = both("生长季", "season");
pub const MODEL_PLOTS: Both = both("样地", "plots");
pub const PLOTS_USED: Both = both("使用 {} 个，未用 {} 个，{} 至 {} 年", "{} used, {} not used, of {} to {}");
pub const MODEL_PLOTS_DIGEST: Both = both("样地文件的 SHA-256", "SHA-256 of the plots");
pub const MODEL_SENSORS: Both = both("卫星和像元", "sensors, pixel");
pub const MODEL_AREA: Both = both("样地范围（西、南、东、北，°）", "area of the plots (W, S, E, N, °)");
pub const MODEL_BIOMASS: Both = both("样地生物量：平均 / 最大", "biomass of the plots: mean / largest");
pub const MODEL_S2: Both = both("ln AGB 的残差方差", "residual variance of ln AGB");
pub const MODEL_COEFFICIENTS: Both = both("系数 ± 标准误", "coefficients ± standard error");
pub const MODEL_CORRECTION: Both = both("对数偏差校正", "correction of the logarithm's bias");
pub const VALIDATION_NOTE: Both = both(
    "检验。只有留出样地的检验（交叉验证）说明模型在没有样地之处的表现；按空间区块留出（空间交叉验证）优先，随机留出偏乐观。R² ≤ 0 表示不比样地平均值更准。TRE：总体相对误差；MPE：平均预估误差（95 %）。",
    "Validation. Only plots that were left out (cross-validation) tell what the model does where there is no plot: blocks of land left out in turn (spatial) come first, plots at random are optimistic. R² of 0 or less: no better than the plots' mean. TRE: total relative error; MPE: mean prediction error (95 %).",
);
pub const VALIDATION: Both = both("检验方式", "validation");
pub const CROSS_SPATIAL: Both =
    both("空间交叉验证（依次留出空间区块）", "spatial cross-validation (blocks of land left out)");
pub const CROSS_RANDOM: Both = both("随机交叉验证（依次随机留出样地）", "random cross-validation (plots left out)");
pub const CROSS_FITTED: Both = both("参与拟合的样地（不是独立检验）", "plots fitted to (no independent test)");
pub const NO_CROSS_VALIDATION: Both = both(
    "该模型没有交叉验证：样地太少或太集中。",
    "The model has no cross-validation: too few plots, or too close together.",
);
pub const MODEL_N: Both = both("样地数", "plots");
pub const FOLDS: Both = both("折数", "folds");
pub const BLOCK: Both = both("块边长", "block");
pub const R2: Both = both("R²", "R²");
pub const RMSE: Both = both("均方根误差", "RMSE");
pub const BIAS: Both = both("偏差", "bias");
pub const MAE: Both = both("平均绝对误差", "MAE");
pub const TRE: Both = both("总体相对误差", "TRE");
pub const MPE: Both = both("平均预估误差", "MPE");
pub const RANGES_NOTE: Both = both(
    "拟合范围：预测因子在样地上的取值。生物量高的一侧超过 5 % 或 95 % 分位数时按该分位数计（saturated），另一侧超出最小或最大值时按其计（extrapolated）。",
    "Calibration range: what the plots have. Where biomass is high a predictor is cut at the 5 % or 95 % percentile (saturated), on the other side at the smallest or largest value (extrapolated).",
);
pub const PREDICTOR: Both = both("预测因子", "predictor");
pub const MIN: Both = both("最小", "smallest");
pub const P5: Both = both("5 % 分位数", "5 %");
pub const P95: Both = both("95 % 分位数", "95 %");
pub const MAX: Both = both("最大", "largest");
pub const PARAMETERS_NOTE: Both = both(
    "本次运行的储量所用的参数集数值，原样列出。按级取值的表（如 BCEF、根茎比）列出全部各级，每个地块只用其中一级。核对情况：V 已在所列来源中看到；K 凭记忆引自所列文献，批准前须与原文核对。transfer_error 的均值为 1，只增加误差。",
    "Values of the set that the stocks of this run were made with, as they stand in it. Of a table by class (BCEF, root-to-shoot ratio) every class is listed; a parcel uses one of them. Checked: V seen in the source that is named, K recalled from it, to be compared with it before approval. transfer_error has a mean of 1 and only adds to the error.",
);
pub const PARAMETERS_LACKING: Both = both(
    "该次运行的 run.json 没有列出所用数值（由较早版本生成）；见上述 SHA-256 的参数集文件。",
    "run.json of this run does not list the values that were used (it is of an earlier version); they stand in the set with the SHA-256 above.",
);
pub const VALUE_ID: Both = both("编号", "id");
pub const VALUE: Both = both("数值", "value");
pub const UNIT: Both = both("单位", "unit");
pub const SPREAD: Both = both("范围或变异系数", "range or cv");
pub const EXACT: Both = both("按精确值计", "taken as exact");
pub const SOURCE: Both = both("来源", "source");
pub const CONFIDENCE: Both = both("核对情况", "checked");
pub const USED_FOR: Both = both("用于", "used for");
pub const FORMULA_CHANGE: Both = both(
    "储量差法：碳变化 = 期末储量 − 期初储量，同一多边形（IPCC 2006 指南第 4 卷第 2 章公式 2.5）；t CO₂e = t C × 44/12；每年按 365.25 天。",
    "Stock difference: change = stock at the end − stock at the start, on one polygon (IPCC 2006 Guidelines, Volume 4, Chapter 2, Equation 2.5); t CO₂e = t C × 44/12; a year has 365.25 days.",
);
pub const FORMULA_GAIN_LOSS: Both = both(
    "增减法（并列给出）：碳变化 = 增加 − 损失（IPCC 2006 指南第 4 卷第 2 章公式 2.4、2.7、2.9、2.10、2.14）。",
    "Gain and loss (beside it): change = gain − loss (IPCC 2006 Guidelines, Volume 4, Chapter 2, Equations 2.4, 2.7, 2.9, 2.10, 2.14).",
);
pub const FORMULA_CONTROL: Both = both(
    "超出对照的变化 = 地块的变化 − 面积 × 附近对照地块每公顷变化的平均值（双重差分）。",
    "Change beyond the reference = change of the parcel − area × mean change per hectare of the reference parcels nearby (difference in differences).",
);
pub const DEDUCTION_RULE: Both = both(
    "扣减规则 {}，来源：{}。U 为 90 % 区间半宽占变化量的百分比，扣减也以变化量的百分比计：",
    "Deduction scheme {}; source: {}. U is half of the 90 % interval in percent of the change, and so is the deduction:",
);
pub const DEDUCTION_NOTE: Both = both(
    "“—”表示不确定性超出规则的允许范围，须增加样地。该规则凭记忆引自方案文本，签发前须由负责人与官方文本核对。扣减只减少增长，从不用于损失；不含非持久性缓冲。",
    "A dash: more uncertain than the rule accepts, measure more plots. The rule is recalled from the scheme's text; whoever is responsible compares it with the official text before anything is issued. A deduction makes growth smaller and never applies to a loss; a non-permanence buffer is not in it.",
);
pub const WORKED: Both = both(
    "算例：地块 {}，{} 至 {}。按未舍入的数值计算，因此手算末位可能相差 1。",
    "Worked for one parcel: {}, {} to {}. It was computed before rounding, so by hand a last digit may differ by 1.",
);
pub const NOTHING_WORKED: Both = both(
    "没有类别允许计入的地块，因此没有算例。",
    "No parcel is of a kind that may be credited, so there is nothing to work through.",
);
pub const ZERO_SCREENING: Both =
    both("可计入量为 0 t CO₂e：该数字的地位是 {}。", "Creditable: 0 t CO₂e, because the figure is {}.");
pub const ZERO_LOSS: Both =
    both("可计入量为 0 t CO₂e：没有增长。", "Creditable: 0 t CO₂e, because there is no growth.");
pub const ZERO_UNCERTAIN: Both = both(
    "可计入量为 0 t CO₂e：不确定性超出规则的允许范围。",
    "Creditable: 0 t CO₂e, because the change is more uncertain than the rule accepts.",
);
pub const ZERO_SATURATED: Both = both(
    "可计入量为 0 t CO₂e：期初或期末植被指数饱和，增长看不到。",
    "Creditable: 0 t CO₂e, because the index is saturated at the start or the end.",
);
pub const ZERO_DEDUCTED: Both =
    both("可计入量为 0 t CO₂e：全部被扣减。", "Creditable: 0 t CO₂e, because all of it is deducted.");
pub const FORMULA_ERRORS: Both = both(
    "蒙特卡洛模拟，每个误差来源抽取 {} 次，种子 {}，算法 {}（IPCC 2006 指南第 1 卷第 3 章，方法 2；拉丁超立方抽样：McKay, Beckman and Conover 1979, Technometrics 21:239–245）。90 % 区间为抽取结果的第 5 至第 95 百分位数。",
    "Monte Carlo simulation with {} draws of each source of error, seed {}, algorithm {} (IPCC 2006 Guidelines, Volume 1, Chapter 3, Approach 2; Latin hypercube: McKay, Beckman and Conover 1979, Technometrics 21:239–245). The 90 % interval goes from the 5th to the 95th percentile of the draws.",
);

pub const FLAGS_NOTE: Both = both(
    "同一备注在所有报告中使用同一代码，因此各报告可以对照。",
    "A remark has the same letter in every report, so that reports can be compared.",
);
pub const LETTER: Both = both("代码", "letter");
pub const FLAG: Both = both("名称", "name");
pub const MEANING: Both = both("含义", "meaning");
pub const IN_DELTAS: Both = both("变化", "changes");
pub const IN_STOCKS: Both = both("储量", "stocks");
pub const NO_FLAGS: Both = both("没有备注。", "There are no remarks.");
pub const UNKNOWN: Both = both("本报告没有其说明，见软件文档", "not explained in this report, see the documentation");

pub const INPUTS_NOTE: Both = both(
    "共 {} 个输入文件，{} 字节。清单的摘要是每个文件一行“SHA-256、两个空格、路径”（按 run.json 的顺序，与 sha256sum 格式相同）的文本的 SHA-256：",
    "{} input files, {} bytes. The digest of the list is the SHA-256 of a text with one line a file, SHA-256, two spaces, path, in the order of run.json (the format of sha256sum):",
);
pub const INPUTS_FIRST: Both =
    both("前 {} 个输入文件；全部见 run.json。", "The first {} input files; all are in run.json.");
pub const OUTPUTS: Both = both(
    "输出表。写本报告时已核对每个表的 SHA-256 与 run.json 一致。",
    "Output tables. The SHA-256 of each was found equal to that in run.json when this report was written.",
);
pub const OUTPUTS_FIRST: Both = both("前 {} 个，共 {} 个。", "The first {} of {}.");
pub const PATH: Both = both("路径", "path");
pub const BYTES: Both = both("大小", "size");
pub const ROWS: Both = both("行数", "rows");
pub const DIGEST: Both = both("SHA-256", "SHA-256");

/// What holds of every run.
pub const GENERAL_LIMITS: &[Both] = &[
    both(
        "区间只包含所述的误差来源。地块边界画错、云掩膜遗漏、影像与地图错位等没有说明的误差不在其中。",
        "Intervals hold the stated sources of error only, not errors that nobody stated: a boundary drawn wrongly, cloud that the mask missed, an image that lies beside the map.",
    ),
    both(
        "卫星看到的是林冠。林下的损失、冠层闭合后的生长，光学影像看不到或看不全。",
        "Satellites see the canopy. Optical images do not, or hardly, show losses below it and growth after it has closed.",
    ),
    both(
        "扰动的日期只能精确到两个晴空日期之间；小于约 0.1 ha 的损失可能漏掉。",
        "A loss is dated to the time between two clear dates and no better; losses below about 0.1 ha may be missed.",
    ),
    both(
        "某一地块的边界和面积，如用于案件，应以实地或更高分辨率影像测量为准。",
        "Where the boundary or area of one parcel decides a case, measure it in the field or on a finer image.",
    ),
    both(
        "本报告是技术资料，不是证书、碳票、鉴定意见或法律意见。",
        "This report is technical information: no certificate, no carbon ticket, no expert opinion, no legal advice.",
    ),
];

/// What holds of a method of carbon stocks.
pub fn method_limit(method: &str) -> Option<Both> {
    Some(match method {
        "tier1_cover" => both(
            "tier1_cover：森林类型的默认生物量乘以植被覆盖度，没有本地样地数据，因此区间很宽，仅供筛查。",
            "tier1_cover: default biomass of the forest type times vegetation cover, without plots of this place: wide intervals, for screening only.",
        ),
        "inventory" => both(
            "inventory：依赖调查数据（蓄积、调查日期、生长量）的正确性；软件不能核实调查本身。",
            "inventory: rests on the survey (volume, date, increment) being right; the program cannot verify the survey itself.",
        ),
        "index_model" => both(
            "index_model：只在样地所覆盖的指数范围和区域内成立；超出部分有备注。",
            "index_model: holds within the range of the index and the area of its plots; what lies outside carries a remark.",
        ),
        "agb_map" => both(
            "agb_map：依赖外部生物量图及其误差图；未经本地验证的图可能有系统偏差。",
            "agb_map: rests on an external biomass map and its map of errors; without local validation it may be biased.",
        ),
        _ => return None,
    })
}

/// Marks of the remarks. They are the same in every report: a new remark gets the next letter, and the letter of one that is
/// no more is never given again.
const MARKS: [(&str, &str); 24] = [
    ("tier1", "A"),
    ("few_observations", "B"),
    ("unapproved_parameters", "C"),
    ("saturated", "D"),
    ("extrapolated", "E"),
    ("more_plots_needed", "F"),
    ("not_converged", "G"),
    ("area_error_not_stated", "H"),
    ("overlapping", "I"),
    ("not_validated_locally", "J"),
    ("retention_not_observed", "K"),
    ("growth_not_stated", "L"),
    ("survey_date_not_stated", "M"),
    ("growth_error_not_stated", "N"),
    ("volume_error_not_stated", "O"),
    ("class_held", "P"),
    ("volume_doubtful", "Q"),
    ("methods_disagree", "R"),
    ("loss_date_uncertain", "S"),
    ("biomass_doubtful", "T"),
    ("unapproved_model", "U"),
    ("few_plots", "V"),
    ("outside_calibration_area", "W"),
    ("weak_model", "X"),
];

/// The mark of a remark.
pub fn mark(flag: &str) -> Option<&'static str> {
    MARKS.iter().find(|(name, _)| *name == flag).map(|(_, mark)| *mark)
}

/// Why growth of a kind of parcel is never credited, if it is not.
pub fn not_creditable(kind: &str) -> Option<Both> {
    Some(match kind {
        "reference" => both("对照", "control"),
        "damaged" => both("受损", "loss"),
        _ => return None,
    })
}

/// A remark on a stock or change.
pub fn flag(name: &str) -> Option<Both> {
    Some(match name {
        "tier1" => both(
            "使用默认密度（IPCC 第一层级），不是本地数据。",
            "Made with default densities (IPCC Tier 1), not with local data.",
        ),
        "few_observations" => both("晴空观测日期少于要求。", "Fewer clear dates than asked for."),
        "unapproved_parameters" => both("参数集未经任何人批准。", "Nobody has approved the parameter set."),
        "saturated" => both(
            "植被指数高于模型能分辨的范围：按范围上限计，此后的生长看不到，也不计入。",
            "The index lies above what the model can tell apart and was cut there: growth beyond it cannot be seen and is not credited.",
        ),
        "extrapolated" => both(
            "植被指数低于模型拟合的范围，按范围下限计。",
            "The index lies below what the model was made for, and was cut there.",
        ),
        "more_plots_needed" => both(
            "不确定性超过扣减规则的允许范围：在增加样地之前没有可计入量。",
            "The uncertainty is beyond what the deduction scheme accepts: nothing is credited until there are more plots.",
        ),
        "not_converged" => both(
            "两半抽取的结果不一致：区间需要更多抽取。",
            "Two halves of the draws disagree: the interval needs more draws.",
        ),
        "area_error_not_stated" => {
            both("没有说明边界误差：面积按精确值计。", "No boundary error was stated: the area counts as exact.")
        }
        "overlapping" => {
            both("与其他地块共有土地；合计中只计一次。", "Shares ground with another parcel; totals count it once.")
        }
        "methods_disagree" => both(
            "另一种变化检测方法在该时期内看到的损失明显更多：增长不计入。",
            "Another change method saw clearly more loss in the period than the one that counts: growth is not credited.",
        ),
        "loss_date_uncertain" => both(
            "有一处损失发生在期内某日与期后某日之间，未计入：增长不计入。",
            "A loss lies between a date within the period and one after it and was not counted: growth is not credited.",
        ),
        "biomass_doubtful" => both(
            "生物量高于森林通常所能达到的值，或误差为零：请核对单位。",
            "More biomass than forests hold, or an error of zero: check the unit.",
        ),
        "unapproved_model" => both("生物量模型未经任何人批准。", "Nobody has approved the biomass model."),
        "few_plots" => both(
            "生物量模型的样地太少，不足以签发。",
            "The biomass model was fitted to too few plots for figures that are issued.",
        ),
        "outside_calibration_area" => both(
            "地块在拟合模型的样地区域之外。",
            "The parcel lies outside the area of the plots that the model was fitted to.",
        ),
        "weak_model" => both(
            "在未参与拟合的样地上，生物量模型不比样地平均值更准（交叉验证 R² ≤ 0），或低于要求的 R²：仅供筛查。",
            "On plots that it was not fitted to the biomass model does no better than the plots' mean (cross-validated R² of 0 or less), or worse than was asked for: for screening only.",
        ),
        "survey_date_not_stated" => both(
            "没有说明调查日期：蓄积按第一个日期计。",
            "The date of the survey is not stated: its volume was taken as that of the first date.",
        ),
        "growth_not_stated" => {
            both("没有说明生长量：按没有生长计。", "No growth is stated: the stand was taken as not growing.")
        }
        "growth_error_not_stated" => both(
            "没有说明生长量的误差：区间不包含它。",
            "The error of the growth is not stated: the interval does not hold it.",
        ),
        "volume_error_not_stated" => both(
            "没有说明蓄积的误差：区间不包含它。",
            "The error of the volume is not stated: the interval does not hold it.",
        ),
        "class_held" => both(
            "单看该日期应使用系数表的另一行；为各日期一致保留了同一行。",
            "At this date alone another row of a factor table would hold; one row was kept for all dates.",
        ),
        "volume_doubtful" => both("蓄积与林龄不符。", "The volume does not fit the age of the stand."),
        "retention_not_observed" => both(
            "没有方法能说明自调查（或生物量图）以来损失了什么：按全部保留计。",
            "Nothing tells what was lost since the survey or the biomass map: all of it counts as standing.",
        ),
        "not_validated_locally" => {
            both("生物量图未经本地区验证。", "Nobody has validated the biomass map in the region.")
        }
        _ => return None,
    })
}

/// A reason for setting something aside.
pub fn reason(name: &str) -> Option<Both> {
    Some(match name {
        "bad_metadata" => both("元数据缺失、格式错误或自相矛盾", "metadata missing, malformed or contradictory"),
        "unknown_calibration" => {
            both("没有说明数值如何换算为反射率", "how digital numbers become reflectance is not stated")
        }
        "unsupported" => both("本版本不能读取的平台或格式", "platform or format that this version does not read"),
        "unreadable_asset" => both("栅格缺失或无法解码", "a raster is absent or cannot be decoded"),
        "missing_mask" => both("影像没有云掩膜", "no cloud mask comes with the scene"),
        "missing_bands" => both("波段不足以计算所需指数", "the bands give none of the requested indices"),
        "misaligned_grid" => both("同一影像的栅格不在同一格网上", "rasters of one scene do not lie on one grid"),
        "invalid_geometry" => both("无效的多边形", "not a valid polygon"),
        "duplicate_id" => both("编号重复", "the id stands in the layer more than once"),
        "bad_attribute" => both("必需的属性为空或无法识别", "a required attribute is empty or unknown"),
        "bad_coordinates" => both("坐标无法转换到影像的坐标系", "coordinates cannot be brought to the scenes' system"),
        "outside_imagery" => both("没有影像覆盖该地块", "no scene covers the parcel"),
        "no_clear_observation" => both("需要之处晴空观测太少", "too few clear observations where one is needed"),
        "out_of_model_domain" => {
            both("参数集或模型不适用于该地块", "parameter set or model has no value for the parcel")
        }
        _ => return None,
    })
}

/// A check of the carbon figures.
pub fn invariant(name: &str) -> Option<Both> {
    Some(match name {
        "stock_is_density_times_area" => both("储量等于密度乘以面积", "a stock is its density times the area"),
        "pools_sum_to_total" => both("各碳库之和等于合计", "the pools sum up to the total"),
        "delta_is_difference_of_stocks" => {
            both("变化等于两个日期储量之差", "a change is the difference of the stocks of its two dates")
        }
        "no_change_contains_zero" => {
            both("没有变化时，区间包含零", "where nothing changed, the interval contains zero")
        }
        "deltas_add_up_over_periods" => {
            both("相连两期的变化之和等于全期变化", "changes of two periods add up to that of both")
        }
        "parcels_hold_no_more_than_their_ground" => {
            both("计入合计的土地不多于地块覆盖的土地", "no more ground enters the totals than the parcels cover")
        }
        _ => return None,
    })
}

/// A part of the variance.
pub fn part(name: &str) -> Option<Both> {
    Some(match name {
        "model" => both("生物量模型", "biomass model"),
        "allometry" => both("换算系数", "expansion"),
        "residual" => both("残差与观测", "residual"),
        "area" => both("面积", "area"),
        "saturation" => both("指数饱和", "saturation"),
        _ => return None,
    })
}

/// A word that tables use as a code: kinds of parcels, pools, quantities, subjects, stages, uses.
pub fn word(code: &str) -> Option<Both> {
    Some(match code {
        "all" => both("全部地块", "all parcels"),
        "compensation_base" => both("补偿基地", "compensation_base"),
        "damaged" => both("受损地", "damaged"),
        "reserve" => both("储备地", "reserve"),
        "reference" => both("对照地", "reference"),
        "stock" => both("储量", "stock"),
        "delta" => both("变化", "change"),
        "creditable" => both("可计入量", "creditable"),
        "aboveground" => both("地上", "aboveground"),
        "belowground" => both("地下", "belowground"),
        "dead_wood" => both("枯死木", "dead wood"),
        "litter" => both("枯落物", "litter"),
        "soil" => both("土壤", "soil"),
        "total" => both("合计", "total"),
        "scene" => both("影像", "scene"),
        "parcel" => both("地块", "parcel"),
        "catalog" => both("读影像元数据", "catalog"),
        "parcels" => both("读地块", "parcels"),
        "extract" => both("解码影像", "extract"),
        "account" => both("计算碳", "account"),
        "issuable" => both("可签发", "issuable"),
        "screening_only" => both("仅供筛查", "screening_only"),
        _ => return None,
    })
}

/// The same in one line; a code that has no words stands as it is.
pub fn words(code: &str) -> String {
    word(code).map_or_else(|| code.to_owned(), Both::joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::chain::Part;
    use crate::carbon::{Flag, Pool};
    use crate::parcel::Kind;

    #[test]
    fn values_go_to_their_places() {
        assert_eq!(fill("{} of {}, {}", &["1", "2"]), "1 of 2, –");
        assert_eq!(fill("nothing", &["1"]), "nothing");
    }

    #[test]
    fn every_flag_has_a_mark_of_its_own_and_a_meaning() {
        let marks: std::collections::BTreeSet<&str> = MARKS.iter().map(|m| m.1).collect();
        assert_eq!(marks.len(), MARKS.len());
        for flag in Flag::ALL {
            assert!(mark(flag.name()).is_some() && super::flag(flag.name()).is_some(), "{}", flag.name());
        }
        // These stand in reports that were handed out.
        for (name, letter) in
            [("tier1", "A"), ("unapproved_parameters", "C"), ("overlapping", "I"), ("weak_model", "X")]
        {
            assert_eq!(mark(name), Some(letter));
        }
    }

    #[test]
    fn kinds_that_are_not_credited_are_those_of_the_tables() {
        for kind in [Kind::CompensationBase, Kind::Damaged, Kind::Reserve, Kind::Reference] {
            assert_eq!(not_creditable(kind.name()).is_none(), kind.is_creditable(), "{}", kind.name());
        }
    }

    #[test]
    fn parts_and_pools_have_words() {
        assert!(Part::ALL.into_iter().all(|p| part(p.name()).is_some()));
        let pools = [Pool::Aboveground, Pool::Belowground, Pool::DeadWood, Pool::Litter, Pool::Soil, Pool::Total];
        assert!(pools.into_iter().all(|p| word(p.name()).is_some()));
    }
}

//! Parquet with the same bytes for the same rows, and a unit and a description on every field.
//!
//! Nothing that varies between runs is written: no time, no path, one writer name, settings fixed here. A file is complete
//! or absent.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::error::{Error, Result};
use crate::files::Staged;

/// A field with its unit (UDUNITS spelling; `1` for a pure number) and what it says.
pub fn field(name: &str, data_type: DataType, nullable: bool, unit: &str, description: &str) -> Field {
    let metadata = [("unit", unit), ("description", description)];
    Field::new(name, data_type, nullable)
        .with_metadata(metadata.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
}

/// What the file holds decides how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Columns of numbers and text that people and other programs read.
    Table,
    /// Blobs of pixels: no dictionaries, no statistics, light compression.
    Pixels,
}

/// A Parquet file being written; it appears when [`Writer::finish`] succeeds.
pub struct Writer {
    inner: ArrowWriter<Recorder>,
    refused: Arc<Mutex<Option<std::io::Error>>>,
    path: PathBuf,
    profile: Profile,
    rows: u64,
}

impl Writer {
    /// Starts a file.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn create(path: &Path, schema: &SchemaRef, metadata: &[(&str, String)], profile: Profile) -> Result<Self> {
        let level = match profile {
            Profile::Table => 3,
            Profile::Pixels => 1,
        };
        let level = ZstdLevel::try_new(level).map_err(|e| Error::Internal(e.to_string()))?;
        let mut properties = WriterProperties::builder()
            .set_created_by("lintan".to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(1 << 16));
        if profile == Profile::Pixels {
            properties = properties.set_dictionary_enabled(false).set_statistics_enabled(EnabledStatistics::None);
        }
        // Twice, for readers that look at the file's metadata and for those that look at the Arrow schema's.
        let pairs = metadata.iter().map(|(k, v)| KeyValue::new((*k).to_owned(), v.clone())).collect();
        let own = metadata.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let schema = Arc::new(schema.as_ref().clone().with_metadata(own));
        let properties = properties.set_key_value_metadata(Some(pairs)).build();
        let refused = Arc::new(Mutex::new(None));
        let sink = Recorder { inner: Staged::create(path)?, refused: refused.clone() };
        let inner = ArrowWriter::try_new(sink, schema, Some(properties))
            .map_err(|e| Error::Internal(format!("cannot encode {}: {e}", path.display())))?;
        Ok(Writer { inner, refused, path: path.to_path_buf(), profile, rows: 0 })
    }

    /// Parquet flattens the system's answer to text; a full disk must stay recognisable.
    fn failed(refused: &Mutex<Option<std::io::Error>>, path: &Path, e: &parquet::errors::ParquetError) -> Error {
        match refused.lock().ok().and_then(|mut r| r.take()) {
            Some(source) => Error::Io { action: "write", path: path.to_path_buf(), source },
            None => Error::Internal(format!("cannot encode {}: {e}", path.display())),
        }
    }

    /// Adds rows. With [`Profile::Pixels`] a batch becomes a row group.
    ///
    /// # Errors
    /// The file system's answer, or a batch that does not fit the schema.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        let mut written = self.inner.write(batch);
        if written.is_ok() && self.profile == Profile::Pixels {
            written = self.inner.flush();
        }
        written.map_err(|e| Self::failed(&self.refused, &self.path, &e))
    }

    /// Completes the file and returns its number of rows.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn finish(self) -> Result<u64> {
        let sink = self.inner.into_inner().map_err(|e| Self::failed(&self.refused, &self.path, &e))?;
        sink.inner.commit()?;
        Ok(self.rows)
    }
}

/// Writes batches to `path`.
///
/// # Errors
/// As [`Writer`].
pub fn write(
    path: &Path,
    schema: &SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch>>,
    metadata: &[(&str, String)],
    profile: Profile,
) -> Result<u64> {
    let mut writer = Writer::create(path, schema, metadata, profile)?;
    for batch in batches {
        writer.write(&batch?)?;
    }
    writer.finish()
}

/// Passes writes on and keeps the first refusal.
struct Recorder {
    inner: Staged,
    refused: Arc<Mutex<Option<std::io::Error>>>,
}

impl Recorder {
    fn keep<T>(&self, result: std::io::Result<T>) -> std::io::Result<T> {
        result.inspect_err(|e| {
            if let Ok(mut refused) = self.refused.lock() {
                let copy = match e.raw_os_error() {
                    Some(code) => std::io::Error::from_raw_os_error(code),
                    None => std::io::Error::new(e.kind(), e.to_string()),
                };
                refused.get_or_insert(copy);
            }
        })
    }
}

impl Write for Recorder {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let result = self.inner.write(buf);
        self.keep(result)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let result = self.inner.flush();
        self.keep(result)
    }
}

/// A Parquet file opened for reading.
pub struct Reader {
    builder: ParquetRecordBatchReaderBuilder<std::fs::File>,
    path: PathBuf,
}

impl Reader {
    /// Opens a file and reads its footer.
    ///
    /// # Errors
    /// Absent, or no whole Parquet file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(path, &e.to_string()))?;
        Ok(Reader { builder, path: path.to_path_buf() })
    }

    /// Key-value metadata of the file.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let pairs = self.builder.metadata().file_metadata().key_value_metadata();
        pairs.into_iter().flatten().filter_map(|kv| Some((kv.key.clone(), kv.value.clone()?))).collect()
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.builder.metadata().file_metadata().num_rows().max(0) as u64
    }

    /// Reads all rows, or those of some row groups, and all columns, or those named.
    ///
    /// # Errors
    /// A damaged file.
    pub fn read(mut self, row_groups: Option<Vec<usize>>, columns: Option<&[&str]>) -> Result<Vec<RecordBatch>> {
        if let Some(groups) = row_groups {
            self.builder = self.builder.with_row_groups(groups);
        }
        if let Some(columns) = columns {
            let mask = parquet::arrow::ProjectionMask::columns(self.builder.parquet_schema(), columns.iter().copied());
            self.builder = self.builder.with_projection(mask);
        }
        self.batches(1 << 16)?.collect()
    }

    /// Reads all rows, so many at once: of rows that are large, few are in memory.
    ///
    /// # Errors
    /// A damaged file, here or in a batch.
    pub fn batches(self, rows: usize) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
        let path = self.path;
        let reader = self.builder.with_batch_size(rows).build().map_err(|e| damaged(&path, &e.to_string()))?;
        Ok(reader.map(move |b| b.map_err(|e| damaged(&path, &e.to_string()))))
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::Integrity {
        path: path.to_path_buf(),
        found: format!("a file that cannot be read ({why})"),
        expected: "a whole Parquet file written by this program".into(),
    }
}

/// The column of a name with its Arrow type.
///
/// # Errors
/// No such column, or another type.
pub fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str, path: &Path) -> Result<&'a T> {
    batch
        .column_by_name(name)
        .and_then(|c| c.as_any().downcast_ref::<T>())
        .ok_or_else(|| damaged(path, &format!("column {name} is missing or of another type")))
}

/// A schema of fields.
pub fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

/// A batch of a schema; a mismatch is our own mistake.
///
/// # Errors
/// Columns that do not fit.
pub fn batch(schema: &SchemaRef, columns: Vec<arrow::array::ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema.clone(), columns).map_err(|e| Error::Internal(format!("table columns: {e}")))
}

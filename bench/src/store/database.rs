//! redb: a database in one file, as a program would use it that wants no store of its own.
//!
//! Without durability for each transaction, which ours does not promise either. Its cache is the one that it brings
//! along: up to a gigabyte of memory. It checks nothing when it reads.
use super::data::Named;
use anyhow::{Context, Result, ensure};
use lre_model::Digest;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::path::Path;

const BLOBS: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("blobs");

/// The database.
pub struct Redb(Database);

impl Redb {
    /// In this file, which need not be there.
    pub fn open(file: &Path) -> Result<Self> {
        Ok(Self(Database::create(file)?))
    }

    /// In one transaction.
    pub fn write(&self, blobs: &[Named]) -> Result<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::None)?;
        let mut table = transaction.open_table(BLOBS)?;
        for (digest, content) in blobs {
            ensure!(Digest::of(digest.function(), content) == *digest, "other bytes");
            table.insert(digest.hash(), &content[..])?;
        }
        drop(table);
        Ok(transaction.commit()?)
    }

    /// A transaction that is on the disk when it returns, and with it all before it.
    pub fn sync(&self) -> Result<()> {
        Ok(self.0.begin_write()?.commit()?)
    }

    /// How many are not there.
    pub fn missing(&self, digests: &[Digest]) -> Result<usize> {
        let table = self.0.begin_read()?.open_table(BLOBS)?;
        let mut missing = 0;
        for digest in digests {
            missing += usize::from(table.get(digest.hash())?.is_none());
        }
        Ok(missing)
    }

    /// How many bytes they have.
    pub fn read(&self, digests: &[Digest]) -> Result<u64> {
        let table = self.0.begin_read()?.open_table(BLOBS)?;
        let mut bytes = 0;
        for digest in digests {
            let content = table.get(digest.hash())?.context("a blob is missing")?.value().to_vec();
            bytes += std::hint::black_box(content).len() as u64;
        }
        Ok(bytes)
    }
}

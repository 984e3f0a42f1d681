//! A plugin for the host's tests, written against the bare contract: it also does what no plugin should.

wit_bindgen::generate!({
    path: "../../../wit",
    world: "test:odd/odd",
    inline: "
        package test:odd;
        world odd {
            import wxhost:plugin/host@0.1.0;
            export wxhost:plugin/functions@0.1.0;
            export wxhost:plugin/transform@0.1.0;
            export wxhost:plugin/fold@0.1.0;
            export wxhost:plugin/stateful@0.1.0;
            export wxhost:plugin/source@0.1.0;
            export wxhost:plugin/sink@0.1.0;
        }
    ",
    additional_derives: [Clone],
    generate_all,
});

use exports::wxhost::plugin::functions::{Function, Kind};
use exports::wxhost::plugin::transform::{self, Applied};
use exports::wxhost::plugin::{fold, functions, sink, source};
use std::cell::RefCell;
use wxhost::plugin::host;
use wxhost::plugin::types::{
    Batch, Column, DataType, Domain, Error, Field, ListData, RowError, Schema, Values, VarSize,
};

mod stateful;

struct Plugin;
export!(Plugin);

thread_local! {
    /// What the open functions do, by handle.
    static OPEN: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
    static SUMS: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
    static NEXT: RefCell<i64> = const { RefCell::new(0) };
}

fn opened(function: String, config: String) -> u32 {
    OPEN.with_borrow_mut(|open| {
        open.push((function, config));
        open.len() as u32 - 1
    })
}

fn user(message: &str) -> Error {
    Error { domain: Domain::User, message: message.to_owned() }
}

impl functions::Guest for Plugin {
    fn list_functions() -> Vec<Function> {
        let function = |name: &str, kind, state_version| Function {
            name: name.to_owned(),
            kind,
            doc: String::new(),
            state_version,
            config_schema: String::new(),
        };
        vec![
            function("echo", Kind::Map, 0),
            function("evens", Kind::Filter, 0),
            function("odd", Kind::Map, 0),
            function("odd_flat", Kind::FlatMap, 0),
            function("Sum", Kind::Fold, 1),
            function("Running", Kind::Stateful, 1),
            function("numbers", Kind::Source, 0),
            function("picky", Kind::Sink, 0),
        ]
    }
}

fn one_column(data_type: DataType) -> Schema {
    Schema { fields: vec![Field { name: "x".to_owned(), data_type }], roots: vec![0] }
}

impl transform::Guest for Plugin {
    fn open(function: String, input: Schema, config: String) -> Result<transform::Opened, Error> {
        let all = (0..input.roots.len() as u32).collect();
        let (output, reads) = match (function.as_str(), config.as_str()) {
            ("echo", _) => (input, all),
            ("evens", _) => (Schema { fields: vec![], roots: vec![] }, vec![0]),
            (_, "open-refuse") => return Err(user("no such configuration")),
            (_, "open-panic") => panic!("cannot open"),
            (_, "open-reads") => (one_column(DataType::Int64), vec![7]),
            (_, "open-cycle") => (one_column(DataType::List(0)), vec![]),
            (_, "strings" | "utf8" | "cut" | "fall" | "end" | "start" | "few-offsets" | "negative") => {
                (one_column(DataType::String), vec![])
            }
            (_, "items" | "late-child") => {
                let fields = vec![
                    Field { name: "item".to_owned(), data_type: DataType::Int64 },
                    Field { name: "x".to_owned(), data_type: DataType::List(0) },
                ];
                (Schema { fields, roots: vec![1] }, vec![])
            }
            _ => (one_column(DataType::Int64), all),
        };
        Ok(transform::Opened { handle: opened(function, config), output, reads, extends: false })
    }

    fn apply(handle: u32, input: Batch) -> Result<Applied, Error> {
        let (function, config) = OPEN.with_borrow(|open| open[handle as usize].clone());
        match function.as_str() {
            "echo" => Ok(Applied { rows: Some(input), parents: None, errors: vec![] }),
            "evens" => {
                let Values::Int64(values) = &input.columns[input.roots[0] as usize].values else { unreachable!() };
                let parents = (0..input.rows).filter(|&row| values[row as usize] % 2 == 0).collect();
                Ok(Applied { rows: None, parents: Some(parents), errors: vec![] })
            }
            _ => odd(&config, input.rows),
        }
    }
}

fn column(rows: u32, values: Values) -> Column {
    Column { rows, validity: None, values }
}

fn text(offsets: Vec<i32>, data: &[u8]) -> Values {
    Values::VarSize(VarSize { offsets, data: data.to_vec() })
}

/// Does what the configuration says; for three rows.
fn odd(config: &str, rows: u32) -> Result<Applied, Error> {
    let fine = Values::Int64(vec![1, 2, 3]);
    let mut batch = Batch { rows, columns: vec![], roots: vec![0] };
    let mut parents = None;
    let mut errors = vec![];
    let error = |row| RowError { row, message: "bad".to_owned() };
    let mut only = column(rows, fine.clone());
    match config {
        "panic" => {
            eprintln!("about to fail");
            panic!("this is\ntoo odd");
        }
        "spin" => loop {
            std::hint::black_box(0);
        },
        "bomb" => {
            let mut held = Vec::new();
            loop {
                held.push(std::hint::black_box(vec![1u8; 1 << 20]));
            }
        }
        "recurse" => {
            std::hint::black_box(recurse(0));
        }
        "exit" => std::process::exit(3),
        "error" => return Err(Error { domain: Domain::External, message: "the sky is down".to_owned() }),
        "host" => {
            host::log(host::Level::Info, "hello");
            host::count("odd_calls", 2);
            only.values = Values::Int64(vec![host::now(); 3]);
        }
        "env" => {
            let seen = i64::from(std::env::var("HOME").is_ok()) + i64::from(std::env::var("ODD").is_ok()) * 2;
            let files = i64::from(std::fs::read_dir("/").is_ok());
            let socket = i64::from(std::net::TcpStream::connect("127.0.0.1:1").is_ok());
            only.values = Values::Int64(vec![seen, files, socket]);
        }
        "connect" => {
            let ports = std::fs::read_to_string("/in/ports").unwrap();
            let connected = ports.lines().map(|port| i64::from(std::net::TcpStream::connect(port).is_ok()));
            only.values = Values::Int64(connected.collect());
            std::fs::write("/out/done", "yes").unwrap();
            assert!(std::fs::write("/in/done", "no").is_err());
        }
        "wrong-type" => only.values = Values::Int32(vec![1, 2, 3]),
        "short" => only.values = Values::Int64(vec![1]),
        "rows" => only.rows = 2,
        "batch-rows" => {
            batch.rows = 2;
            only = column(2, Values::Int64(vec![1, 2]));
        }
        "bitmap" => only.validity = Some(vec![]),
        "no-roots" => batch.roots = vec![],
        "root" => batch.roots = vec![4],
        "utf8" => only.values = text(vec![0, 1, 2, 3], b"a\xffb"),
        "cut" => only.values = text(vec![0, 1, 2, 2], "é".as_bytes()),
        "fall" => only.values = text(vec![0, 2, 1, 3], b"abc"),
        "end" => only.values = text(vec![0, 1, 2, 9], b"abc"),
        "start" => only.values = text(vec![1, 1, 2, 3], b"abc"),
        "negative" => only.values = text(vec![0, -1, 2, 3], b"abc"),
        "few-offsets" => only.values = text(vec![0, 3], b"abc"),
        "items" => {
            batch.columns.push(column(2, Values::Int64(vec![5, 6])));
            batch.roots = vec![1];
            only.values = Values::List(ListData { offsets: vec![0, 1, 1, 5], child: 0 });
        }
        "late-child" => {
            only.values = Values::List(ListData { offsets: vec![0, 1, 2, 3], child: 1 });
            batch.columns = vec![only, column(3, fine)];
            return Ok(Applied { rows: Some(batch), parents, errors });
        }
        "late-error" => errors = vec![error(3)],
        "unordered-errors" => errors = vec![error(1), error(0)],
        "uncounted-error" => errors = vec![error(1)],
        "parents" => parents = Some(vec![0, 1, 2]),
        "flat-falls" => parents = Some(vec![0, 2, 1]),
        "flat-far" => parents = Some(vec![0, 2, 3]),
        "flat-few" => parents = Some(vec![0, 2]),
        "flat-error" => {
            parents = Some(vec![0, 2, 2]);
            errors = vec![error(2)];
        }
        "no-rows" => return Ok(Applied { rows: None, parents, errors }),
        "much" => {
            // One buffer named three times. It is never freed: the host does not come to that.
            let data = std::mem::ManuallyDrop::new(vec![0u8; 30 << 20]);
            let named = || unsafe { Vec::from_raw_parts(data.as_ptr().cast_mut(), data.len(), data.len()) };
            batch.columns = (0..3).map(|_| column(3, Values::Boolean(named()))).collect();
        }
        "count" => (0..1000).for_each(|at| host::count(&format!("c{at}"), 1)),
        "strings" => only.values = text(vec![0, 1, 1, 3], b"abc"),
        _ => {}
    }
    batch.columns.push(only);
    Ok(Applied { rows: Some(batch), parents, errors })
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 64]);
    if std::hint::black_box(false) {
        return 0;
    }
    recurse(here[1] + 1) + here[0]
}

impl fold::Guest for Plugin {
    fn open(function: String, _input: Schema, config: String) -> Result<fold::Opened, Error> {
        let output = one_column(DataType::Int64);
        Ok(fold::Opened { handle: opened(function, config), output, reads: vec![0], state_version: 1 })
    }

    fn update(handle: u32, groups: Vec<u32>, index: Option<Vec<u32>>, rows: Batch) -> Result<Vec<RowError>, Error> {
        let column = &rows.columns[rows.roots[0] as usize];
        let Values::Int64(values) = &column.values else { return Err(user("not int64")) };
        let mut errors = Vec::new();
        SUMS.with_borrow_mut(|sums| {
            for (at, &group) in groups.iter().enumerate() {
                let row = index.as_ref().map_or(at, |index| index[at] as usize);
                let slots = sums.len().max(group as usize + 1);
                sums.resize(slots, 0);
                match values[row] {
                    bad if bad < 0 => errors.push(RowError { row: at as u32, message: format!("{bad} is negative") }),
                    value => sums[group as usize] += value,
                }
            }
        });
        if OPEN.with_borrow(|open| open[handle as usize].1 == "far-error") {
            errors.push(RowError { row: groups.len() as u32, message: "bad".to_owned() });
        }
        Ok(errors)
    }

    fn merge(_handle: u32, into: Vec<u32>, from: Vec<u32>) -> Result<(), Error> {
        SUMS.with_borrow_mut(|sums| {
            for (&into, &from) in into.iter().zip(&from) {
                sums[into as usize] += std::mem::take(&mut sums[from as usize]);
            }
        });
        Ok(())
    }

    /// The configuration makes it lie.
    fn finish(handle: u32, groups: Vec<u32>) -> Result<fold::Finished, Error> {
        let mut sums: Vec<i64> = SUMS.with_borrow(|sums| groups.iter().map(|&group| sums[group as usize]).collect());
        let mut errors = Vec::new();
        match OPEN.with_borrow(|open| open[handle as usize].1.clone()).as_str() {
            "few-rows" => drop(sums.pop()),
            "many-rows" => sums.push(0),
            "both" => errors.push(RowError { row: 0, message: "bad".to_owned() }),
            _ => {}
        }
        let rows = sums.len() as u32;
        let rows = Batch { rows, columns: vec![column(rows, Values::Int64(sums))], roots: vec![0] };
        Ok(fold::Finished { rows, errors })
    }

    fn snapshot(_handle: u32, groups: Vec<u32>) -> Result<VarSize, Error> {
        let data: Vec<u8> =
            SUMS.with_borrow(|sums| groups.iter().flat_map(|&group| sums[group as usize].to_le_bytes()).collect());
        Ok(VarSize { offsets: (0..=groups.len() as i32).map(|at| at * 8).collect(), data })
    }

    fn restore(_handle: u32, groups: Vec<u32>, states: VarSize) -> Result<(), Error> {
        SUMS.with_borrow_mut(|sums| {
            for (&group, state) in groups.iter().zip(states.data.chunks(8)) {
                let slots = sums.len().max(group as usize + 1);
                sums.resize(slots, 0);
                sums[group as usize] = i64::from_le_bytes(state.try_into().unwrap());
            }
        });
        Ok(())
    }

    fn release(_handle: u32, groups: Vec<u32>) {
        SUMS.with_borrow_mut(|sums| groups.iter().for_each(|&group| sums[group as usize] = 0));
    }

    fn migrate(_function: String, _from_version: u32, states: VarSize) -> Result<VarSize, Error> {
        Ok(states)
    }
}

impl source::Guest for Plugin {
    fn open(function: String, config: String) -> Result<source::Opened, Error> {
        Ok(source::Opened { handle: opened(function, config), output: one_column(DataType::Int64) })
    }

    fn list_parts(_handle: u32) -> Result<Vec<String>, Error> {
        Ok(vec!["a".to_owned(), "b".to_owned()])
    }

    fn build_part(_handle: u32, name: String, position: Option<Vec<u8>>) -> Result<u32, Error> {
        if name != "a" && name != "b" {
            return Err(user("no such part"));
        }
        let start = position.map_or(0, |position| i64::from_le_bytes(position.try_into().unwrap()));
        NEXT.set(start);
        Ok(0)
    }

    fn next_batch(_part: u32, max_rows: u32) -> Result<source::Polled, Error> {
        let start = NEXT.with_borrow(|next| *next);
        Ok(match start {
            4 => {
                NEXT.set(5);
                source::Polled::Idle(77)
            }
            5.. => source::Polled::End,
            _ => {
                let values: Vec<i64> = (start..4).take(max_rows as usize).collect();
                NEXT.set(start + values.len() as i64);
                let rows = values.len() as u32;
                source::Polled::Data(Batch { rows, columns: vec![column(rows, Values::Int64(values))], roots: vec![0] })
            }
        })
    }

    fn snapshot(_part: u32) -> Result<Vec<u8>, Error> {
        Ok(NEXT.with_borrow(|next| next.to_le_bytes().to_vec()))
    }

    fn close(_part: u32) -> Result<(), Error> {
        Ok(())
    }
}

impl sink::Guest for Plugin {
    fn open(function: String, _input: Schema, config: String) -> Result<sink::Opened, Error> {
        Ok(sink::Opened { handle: opened(function, config), reads: vec![0], two_phase: true })
    }

    fn list_parts(_handle: u32) -> Result<Vec<String>, Error> {
        Ok(vec![])
    }

    fn build_part(_handle: u32, _name: String, _position: Option<Vec<u8>>) -> Result<u32, Error> {
        Ok(0)
    }

    fn write(_part: u32, rows: Batch) -> Result<Vec<RowError>, Error> {
        let Values::Int64(values) = &rows.columns[rows.roots[0] as usize].values else { return Err(user("not int64")) };
        NEXT.with_borrow_mut(|sum| *sum += values.iter().filter(|value| **value % 2 == 0).sum::<i64>());
        let odd = (0..rows.rows).filter(|&row| values[row as usize] % 2 != 0);
        Ok(odd.map(|row| RowError { row, message: "odd".to_owned() }).collect())
    }

    fn snapshot(_part: u32) -> Result<Vec<u8>, Error> {
        Ok(NEXT.with_borrow(|sum| sum.to_le_bytes().to_vec()))
    }

    fn pre_commit(_part: u32, epoch: u64) -> Result<Vec<u8>, Error> {
        Ok(vec![epoch as u8])
    }

    fn commit(_part: u32, epoch: u64, staged: Vec<u8>) -> Result<(), Error> {
        if staged == [epoch as u8] { Ok(()) } else { Err(user("not what was staged")) }
    }

    fn close(_part: u32) -> Result<(), Error> {
        Ok(())
    }
}

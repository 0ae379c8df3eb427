//! Takes stock of the server that it runs on: prints the inventory as JSON, and on stderr the model and how long it took.

use std::io::{self, Write as _};
use std::time::Instant;

use bms_agent::disk::roots::Roots;
use bms_agent::hardware::model::HardwareModel;
use bms_agent::hardware::survey::Survey;

fn main() -> io::Result<()> {
    let survey = Survey::new(Roots::default());
    let begun = Instant::now();
    let inventory = survey.take();
    let millis = begun.elapsed().as_secs_f64() * 1e3;
    writeln!(io::stderr(), "{}: surveyed in {millis:.2} ms", HardwareModel::of(&inventory))?;
    serde_json::to_writer_pretty(io::stdout().lock(), &inventory)?;
    writeln!(io::stdout())
}

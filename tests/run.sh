#!/usr/bin/env bash
# Runs every test there is: units, properties, and those that install real images onto loop devices of their own.
#
#   run.sh [ARGUMENT of cargo test...]
#
# For:     everybody who changes something; .ci/run calls it last.
# Needs:   root on Debian with Rust. The first run builds a Debian image and an S3 server: half an hour and a mirror.
# Leaves:  packages, target/, and the images, the server and the libraries in ${BMS_FIXTURES:-tests/fixtures/cache} for the next run.
set -euo pipefail

cd "$(dirname "$0")/.."
[[ $EUID -eq 0 ]] || { echo "the tests make loop devices: run this as root" >&2 && exit 1; }

# Networks fail for a moment now and then.
try() {
  local left=3
  until "$@"; do
    ((--left)) || return 1
    sleep 10
  done
}

tests/install-packages.sh
export BMS_FIXTURES=${BMS_FIXTURES:-$PWD/tests/fixtures/cache}
# One waits for a mirror most of the time, the other for the processor.
try tests/fixtures/debian-image.sh "$BMS_FIXTURES" &
image=$!
try tests/fixtures/garage.sh "$BMS_FIXTURES"
try tests/fixtures/broken-images.sh "$BMS_FIXTURES"
try tests/fixtures/foreign-clients.sh "$BMS_FIXTURES"
try tests/fixtures/systemd-tree.sh "$BMS_FIXTURES"
try systemd/build-deb.sh --tools "$BMS_FIXTURES" --only-tools
cargo test --locked --no-run "$@"
wait "$image"
# Privileged tests carry #[ignore], so that a plain `cargo test` works for anybody; here they all run, whichever fails.
cargo test --locked --no-fail-fast "$@" -- --include-ignored

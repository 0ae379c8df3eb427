#!/usr/bin/env bash
# Builds the Debian package: both programs, units, manual, completions, configuration, documentation.
#
#   build-deb.sh [--programs DIR] [--version VERSION] [--output DIR] [--tools DIR]
#   build-deb.sh --tools DIR --only-tools
#
#   --programs DIR    takes bms-agent and bmsctl from there; default: builds them, in release
#   --version VERSION of the package; default: that of Cargo.toml, and -1
#   --output DIR      where the package goes; default: target/debian
#   --tools DIR       where cargo-deb is, or is put; default: target/tools
#
# For:     releases; tests/service, which packages the programs under test.
# Needs:   Rust, xz-utils, and build-essential with dpkg-dev of the Debian that the package is for, of the same architecture. The first
#          run builds cargo-deb from crates.io: 3 min.
# Leaves:  the package, whose path is its only line on standard output, target/package, and cargo-deb. Quick (gzip) if the
#          programs were given, small (xz) if not.
set -euo pipefail

readonly CARGO_DEB=3.8.0

usage() {
  sed -n '/^# *build-deb.sh/s/^# */usage: /p' "$0" >&2
  exit 2
}

programs='' version='' output='' tools='' only_tools=''
while (($# > 0)); do
  [[ $1 == --only-tools || $# -ge 2 ]] || usage
  case $1 in
    --only-tools) only_tools=yes && shift && continue ;;
    --programs) programs=$(realpath -e -- "$2") ;;
    --version) version=$2 ;;
    --output) output=$(realpath -m -- "$2") ;;
    --tools) tools=$(realpath -m -- "$2") ;;
    *) usage ;;
  esac
  shift 2
done

cd "$(dirname "$0")/.."
output=${output:-$PWD/target/debian}
tools=${tools:-$PWD/target/tools}/cargo-deb-$CARGO_DEB

# It appears whole or not at all. It runs for a second, so that what takes time to optimise is not worth it.
install_tools() {
  [[ ! -e $tools ]] || return 0
  local work
  mkdir -p "$(dirname "$tools")"
  work=$(mktemp -d "$tools.XXXXXX")
  echo "building cargo-deb $CARGO_DEB" >&2
  CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    cargo install cargo-deb --version "=$CARGO_DEB" --locked --quiet --no-default-features \
    --root "$work/root" --target-dir "$work/target" >&2
  mv "$work/root" "$tools"
  rm -r "$work"
}

build_programs() {
  cargo build --locked --release --bins >&2
  # Where cargo builds is a setting of the user's.
  programs=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
}

# What the package has besides files of the repository. Cargo.toml says where it goes.
stage() {
  local stage=$1 shell
  mkdir -p "$stage"/{bin,man1,man5,man8,completions,doc}
  for program in bms-agent bmsctl; do
    strip -o "$stage/bin/$program" "$programs/$program"
  done
  mkdir "$stage/man"
  "$programs/bmsctl" man "$stage/man"
  gzip -9n "$stage"/man/*
  for section in 1 5 8; do
    mv "$stage"/man/*."$section".gz "$stage/man$section"
  done
  rmdir "$stage/man"
  for shell in bash zsh fish; do
    "$programs/bmsctl" completions "$shell" >"$stage/completions/$shell"
  done
  # Alerts and dashboards are among docs/.
  cp -r README.md CHANGELOG.md docs systemd/examples systemd/debian/README.Debian "$stage/doc"
}

install_tools
[[ -z $only_tools ]] || exit 0
# cargo-deb's own gzip is made to be small: minutes instead of seconds.
how=(--fast --compress-type gz)
[[ -n $programs ]] || { build_programs && how=(); }
stage=target/package
mkdir -p target "$output"
# Another build may be under way, as of two tests.
exec 9>target/package.lock
flock 9
rm -rf "$stage"
stage "$stage"
"$tools/bin/cargo-deb" deb --quiet --no-build --no-strip --locked --compress-system --output "$output" "${how[@]}" \
  ${version:+--deb-version "$version"}

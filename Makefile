.PHONY: build demo test bench quality dtmf soak

# The switch and its tools: target/release/crosspoint.
build:
	scripts/setup.sh build
	cargo build --release

# A call with real speech through the switch, and four of a softphone to its built-in flow; results
# in out/demo.
demo:
	scripts/demo.sh
	scripts/demo-phones.sh

test:
	scripts/setup.sh build interop
	scripts/test.sh

# Against rtpengine on this machine; raw results in docs/benchmarks/runs.
bench:
	scripts/bench.sh

# Speech quality under loss, scored by PESQ; rewrites the tables of docs/quality.md.
quality:
	scripts/quality.sh

# Keys found and missed in sound, beside spandsp and multimon-ng; rewrites the tables of
# docs/dtmf.md.
dtmf:
	scripts/dtmf.sh

# Fuzzing, many more cases of the properties, calls for a long time, and recorders that are killed or
# have bad disks; MINUTES=30.
soak:
	scripts/soak.sh $(MINUTES)

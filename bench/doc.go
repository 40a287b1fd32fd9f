// Command bench measures what the agent costs and how exact it is, beside
// other tools doing the same work in the same run.
//
//	go run ./bench -quick            # two minutes
//	go run ./bench                   # a quarter of an hour
//	go run ./bench -blackbox PATH    # another blackbox_exporter
//
// The prober runs on CPU 0 and everything that it probes on CPU 1, in network
// namespaces that have no link to the outside. Every probe is a new connection
// and a full handshake. CPU time is read from the kernel's scheduler, arrivals
// are noted by the targets, and true times come from packet captures: nothing
// that a prober says of itself is believed.
//
// It prints a table of ratios. It is not a test: it passes no judgement, and a
// busy machine spoils its figures. docs/performance.md has a run of it.
package main

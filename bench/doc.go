// Command bench measures what the agent costs and how exact it is, beside
// other tools doing the same work in the same run.
//
//	go run ./bench -quick            # less than five minutes
//	go run ./bench                   # some thirty-five
//	go run ./bench -blackbox PATH -cloudprober PATH -gatus PATH
//
// The others are used if they are in PATH or their path is given; none leaves
// one out. Each does the same work as the agent, by a configuration that is
// made here. What is to be known of a figure, and why one is missing, is said
// below the table.
//
// The prober runs on CPU 0 and everything that it probes on CPU 1, in network
// namespaces that have no link to the outside. Every probe is a new connection
// and a full handshake. CPU time is read from the kernel's scheduler, arrivals
// are noted by the targets, and true times come from packet captures: nothing
// that a prober says of itself is believed.
//
// It prints a table of ratios: to the best of the others and, for CPU time and the
// highest rates, to a loop in Go that does nothing but what each probe must do.
// That ratio means the same on a slower machine. It is not a test: it passes no judgement, and a
// busy machine spoils its figures. docs/performance.md has a run of it.
package main

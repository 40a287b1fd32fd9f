// Package report shows rounds to people at a terminal.
package report

import (
	"fmt"
	"io"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

// A Style says what the terminal can show.
type Style struct {
	Color bool // ANSI colors
	ASCII bool // no characters beyond ASCII
	Width int  // columns; 80 if 0
}

// A Report prints what an agent's check sees, as it comes.
type Report struct{}

// New returns a report that is written to w.
func New(w io.Writer, style Style) *Report { return &Report{} }

// Step prints a step.
func (r *Report) Step(agent.Step) {}

// Finish prints the findings and the summary.
func (r *Report) Finish(rounds []agent.Round) error { return nil }

// Explain prints a rule in full.
func Explain(w io.Writer, rule *probes.Rule, style Style) error { return nil }

// Saved prints what saved responses mean.
func Saved[T fmt.Stringer](w io.Writer, answers []T, findings []probes.Finding, style Style) error {
	return nil
}

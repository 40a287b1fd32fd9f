// Package report shows people at a terminal what a check sees and what it
// means: every step as it comes, layer by layer, then the findings with their
// remedies, and the one to mend first again at the end.
//
// It interprets nothing. What it prints is in the rounds; marks never stand
// for themselves, and color only repeats what a mark and a word say.
package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"vpcprobe/agent"
	"vpcprobe/probes"
)

// A Report prints a check. Its methods must not be called at the same time.
type Report struct {
	p       *printer
	started time.Time
	blocks  map[int]*block // by the position of the target
	current int            // the position that streams; those before it are complete
}

// A block is what was seen of one target. Only one streams; the others wait.
type block struct {
	steps []agent.Step // not printed yet
	begun bool         // its heading was printed
	ended bool         // its last step has come
}

// New returns a report that is written to w.
func New(w io.Writer, style Style) *Report {
	return &Report{p: newPrinter(w, style), started: time.Now(), blocks: map[int]*block{}}
}

// Step prints a step, or keeps it until its target's turn.
func (r *Report) Step(s agent.Step) {
	b := r.blocks[s.Position]
	if b == nil {
		b = &block{}
		r.blocks[s.Position] = b
	}
	b.steps = append(b.steps, s)
	b.ended = b.ended || s.Last
	r.stream()
}

// stream prints what has come of the current target, and of the next ones if
// it is complete.
func (r *Report) stream() {
	for ; r.blocks[r.current] != nil; r.current++ {
		b := r.blocks[r.current]
		r.print(b)
		if !b.ended {
			return
		}
	}
}

func (r *Report) print(b *block) {
	if !b.begun && len(b.steps) > 0 {
		if r.p.begun {
			r.p.line("")
		}
		r.heading(b.steps[0].Target)
		b.begun = true
	}
	for _, s := range b.steps {
		r.step(s)
	}
	b.steps = nil
}

// heading says what is probed, and which name each name form stands for.
func (r *Report) heading(t *probes.Target) {
	r.p.hang(r.p.bold(t.Name)+"  ", "  ", r.p.faint(what(t)))
	for f := range t.Forms() {
		r.p.line("  %s", r.p.faint(fmt.Sprintf("%-*s  %s", viaWidth(t), f.Via, cmp.Or(f.Name, "(no name)"))))
	}
}

// viaWidth is the width of the target's longest name form.
func viaWidth(t *probes.Target) int {
	w := 0
	for _, via := range t.Via {
		w = max(w, len(via))
	}
	return w
}

func what(t *probes.Target) string {
	var words []string
	switch {
	case t.Kind == probes.CustomDomain:
		words = append(words, "custom domain", t.Domain)
	case t.API != "":
		words = append(words, "private API", t.API)
	}
	if t.Region != "" {
		words = append(words, "in", t.Region)
	}
	text := strings.Join(words, " ")
	if t.Method != "" {
		text += ", " + t.Method + " " + path(t)
	}
	return strings.TrimPrefix(text, ", ")
}

// path is the request's path without its query, where secrets may hide.
func path(t *probes.Target) string {
	p, _, _ := strings.Cut(t.URLPath(), "?")
	return p
}

// step prints a layer: its name, and a line for each observation.
func (r *Report) step(s agent.Step) {
	if len(s.Observations) == 0 {
		return
	}
	r.p.line("")
	r.p.line("%s", r.p.bold(s.Kind))
	rows := condense(s)
	who, took := 0, 0
	for _, row := range rows {
		who = max(who, width(row.who))
		took = max(took, width(row.took))
	}
	who = min(who, r.p.width/2)
	for _, row := range rows {
		r.p.row(row, who, took)
	}
}

// Finish prints what the check means: the verdict and the findings of each
// target, and last the finding to mend first. It returns the first error of
// writing.
func (r *Report) Finish(rounds []agent.Round) error {
	for _, position := range slices.Sorted(maps.Keys(r.blocks)) {
		if position >= r.current {
			r.print(r.blocks[position])
		}
	}
	for _, round := range rounds {
		r.p.line("")
		r.verdict(round)
		for _, f := range bySeverity(round.Findings) {
			r.finding(f)
		}
	}
	r.summary(rounds)
	return r.p.err
}

// bySeverity puts errors before warnings and these before notices, and
// otherwise changes no order.
func bySeverity(findings []probes.Finding) []probes.Finding {
	return slices.SortedStableFunc(slices.Values(findings), func(f, g probes.Finding) int {
		return cmp.Compare(f.Rule.Severity, g.Rule.Severity)
	})
}

func (r *Report) verdict(round agent.Round) {
	m := verdictMark(round.Verdict)
	lead := r.p.mark(m) + " " + r.p.bold(round.Evidence.Target.Name) + " " + r.p.colored(m, string(round.Verdict)+":") + " "
	r.p.hang(lead, "  ", clean(round.Sentence()))
}

func (r *Report) finding(f probes.Finding) {
	r.p.line("")
	if f.Expected {
		r.p.hang("  "+r.p.mark(good)+" ", "    ", clean(fmt.Sprintf("refused as expect.finding asks: %s (%s)", f.Rule.Title, f.Rule.ID)))
		return
	}
	m := severityMark(f.Rule.Severity)
	r.p.hang("  "+r.p.mark(m)+" ", "    ", r.p.bold(f.Rule.Title))
	r.p.line("    %s", r.p.colored(m, fmt.Sprintf("%s, %s, %s", f.Rule.ID, f.Rule.Severity, f.Certainty)))
	r.p.labeled("why", f.Rule.Means)
	for _, n := range f.Notes {
		r.p.labeled("note", n)
	}
	r.p.labeled("fix", f.Rule.Fix)
	r.p.labeled("source", f.Rule.Source)
	r.p.labeled("more", "vpcprobe explain "+f.Rule.ID)
}

// summary ends the report with counts and the finding to mend first.
func (r *Report) summary(rounds []agent.Round) {
	s := agent.NewDocument("", time.Now(), rounds).Summary
	parts := []string{}
	for _, c := range []struct {
		n    int
		word agent.Verdict
	}{{s.Reachable, agent.Reachable}, {s.Degraded, agent.Degraded}, {s.Unreachable, agent.Unreachable}, {s.Unknown, agent.Unknown}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.word))
		}
	}
	findings := count(s.Errors, "error") + ", " + count(s.Warnings, "warning")
	if s.Notices > 0 {
		findings += ", " + count(s.Notices, "notice")
	}
	r.p.line("")
	r.p.hang("", "  ", fmt.Sprintf("%s: %s. %s, in %s.", count(s.Targets, "target"), strings.Join(parts, ", "), findings, duration(time.Since(r.started))))
	if of, first := agent.First(rounds); first != nil {
		m := severityMark(first.Rule.Severity)
		text := fmt.Sprintf("%s: %s (%s, %s)", of.Evidence.Target.Name, first.Rule.Title, first.Rule.ID, first.Certainty)
		r.p.hang(r.p.mark(m)+" "+r.p.bold("Mend first:")+" ", "  ", clean(text))
	}
}

// Explain prints a rule in full.
func Explain(w io.Writer, rule *probes.Rule, style Style) error {
	p := newPrinter(w, style)
	m := severityMark(rule.Severity)
	p.hang("", "", p.bold(rule.Title))
	p.line("%s", p.colored(m, rule.ID+", "+rule.Severity.String()))
	p.indent = ""
	for _, part := range []struct{ label, text string }{{"why", rule.Means}, {"fix", rule.Fix}, {"source", rule.Source}} {
		p.line("")
		p.labeled(part.label, part.text)
	}
	return p.err
}

// Saved prints what saved responses say, and what they mean.
func Saved[T fmt.Stringer](w io.Writer, answers []T, findings []probes.Finding, style Style) error {
	r := &Report{p: newPrinter(w, style)}
	for _, a := range answers {
		r.p.hang("- ", "  ", clean(a.String()))
	}
	for _, f := range findings {
		r.finding(f)
	}
	if len(findings) == 0 {
		r.p.line("")
		r.p.line("Nothing in it points to a known cause.")
	}
	return r.p.err
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

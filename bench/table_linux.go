package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A row is one figure of all peers, ours first. NaN is a figure that a peer
// does not have. A mark says what is to be known of a figure, or why there is
// none.
type row struct {
	figure  string
	unit    string
	values  []float64
	marks   []string // by peer, as values; none where there is nothing to say
	goal    float64  // 0 for none
	zero    bool     // the goal is 0
	atLeast bool     // the goal is a lower bound: more is better
	ratioed bool     // the goal is for the ratio
}

// more makes the goal a lower bound.
func (r row) more() row { r.atLeast = true; return r }

// fill adds a peer's figures to rows. Where there are none, err says why.
func fill(rows []*row, mark string, err error, values ...float64) {
	for i, r := range rows {
		v := at(values, i)
		if err != nil {
			v, mark = math.NaN(), strings.Join(strings.Fields(err.Error()), " ")
		}
		r.values = append(r.values, v)
		r.marks = append(r.marks, mark)
	}
}

type table struct {
	peers    []string
	versions []string
	rows     []row
	bare     []row // beside the bare loop
	notes    []string

	foreign []float64 // by how many percent others used the prober's CPU, by window
}

func (t *table) add(r row) {
	t.rows = append(t.rows, r)
	fmt.Fprintf(os.Stderr, "%s: %.4g %q\n", r.figure, r.values, r.marks)
}

// beside adds what a bare loop takes, or does, in the place of the peers. The goal
// is for the ratio to it.
func (t *table) beside(r row, bare, goal float64) {
	r.values, r.marks, r.goal, r.ratioed = []float64{at(r.values, 0), bare}, nil, goal, true
	t.bare = append(t.bare, r)
	fmt.Fprintf(os.Stderr, "%s: %.4g beside a bare loop\n", r.figure, r.values)
}

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// sum adds up a peer's figures whose names begin alike.
func (t *table) sum(peer, prefix string) float64 {
	sum := math.NaN()
	for _, r := range t.rows {
		for i, p := range t.peers {
			switch {
			case p != peer || !strings.HasPrefix(r.figure, prefix):
			case math.IsNaN(sum):
				sum = r.values[i]
			default:
				sum += r.values[i]
			}
		}
	}
	return sum
}

// write prints the table as Markdown.
func (t *table) write(w io.Writer) {
	fmt.Fprintf(w, "%s, %s. Probers: %s.\n\n", time.Now().UTC().Format("2006-01-02 15:04 UTC"), machine(), strings.Join(t.versions, ", "))
	var marks []string
	lines(w, t.peers, t.rows, &marks)
	if len(t.bare) > 0 {
		fmt.Fprint(w, "\nBeside a loop in Go that does nothing but what each probe must do:\n\n")
		lines(w, []string{t.peers[0], "bare loop"}, t.bare, &marks)
	}
	if len(t.foreign) > 0 {
		t.note("others used %.0f %% of the prober's CPU in the median of %d windows, at most %.0f %%", quantile(t.foreign, 0.5), len(t.foreign), slices.Max(t.foreign))
	}
	for i, m := range marks {
		fmt.Fprintf(w, "\n* [%d] %s", i+1, m)
	}
	for _, n := range t.notes {
		fmt.Fprintf(w, "\n* %s", n)
	}
	fmt.Fprintln(w)
}

// lines prints rows, and collects their marks.
func lines(w io.Writer, peers []string, rows []row, marks *[]string) {
	fmt.Fprint(w, "| figure | ", strings.Join(peers, " | "), " | ratio | goal | reached |\n|---|", strings.Repeat("---|", len(peers)), "---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(w, "| %s |", r.figure)
		for i, p := range peers {
			fmt.Fprintf(w, " %s%s |", number(at(r.values, i), r.unit), r.mark(i, p, marks))
		}
		fmt.Fprintf(w, " %s | %s | %s |\n", r.told(), r.aim(), r.reached())
	}
}

func at(values []float64, i int) float64 {
	if i < len(values) {
		return values[i]
	}
	return math.NaN()
}

// mark is the number of what is said of a peer's figure, one for all who say
// the same.
func (r row) mark(i int, peer string, marks *[]string) string {
	if i >= len(r.marks) || r.marks[i] == "" {
		return ""
	}
	text := peer + ": " + r.marks[i]
	n := slices.Index(*marks, text)
	if n < 0 {
		n = len(*marks)
		*marks = append(*marks, text)
	}
	return fmt.Sprintf(" [%d]", n+1)
}

// ratio is ours to the best of the others; NaN if there is none.
func (r row) ratio() float64 {
	best := math.NaN()
	for _, v := range r.values[1:] {
		if math.IsNaN(best) || !r.atLeast && v < best || r.atLeast && v > best {
			best = v
		}
	}
	if best == 0 {
		return math.NaN()
	}
	return at(r.values, 0) / best
}

func (r row) told() string {
	if ratio := r.ratio(); !math.IsNaN(ratio) {
		return number(ratio, "")
	}
	return ""
}

// aimed is what the goal is for, and its unit.
func (r row) aimed() (v float64, unit string) {
	if r.ratioed {
		return r.ratio(), ""
	}
	return r.values[0], r.unit
}

func (r row) aim() string {
	_, unit := r.aimed()
	switch {
	case r.goal == 0 && !r.zero:
		return ""
	case r.atLeast:
		return "≥ " + number(r.goal, unit)
	}
	return "≤ " + number(r.goal, unit)
}

func (r row) reached() string {
	v, _ := r.aimed()
	switch {
	case r.goal == 0 && !r.zero:
		return ""
	case r.atLeast && v >= r.goal || !r.atLeast && v <= r.goal:
		return "yes"
	}
	return "**no**"
}

// number shows three significant digits.
func number(v float64, unit string) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case math.Abs(v) >= 1000:
		return strings.TrimSpace(fmt.Sprintf("%.0f %s", v, unit))
	}
	return strings.TrimSpace(fmt.Sprintf("%.3g %s", v, unit))
}

// machine describes where this runs.
func machine() string {
	model, cpus := "unknown CPU", 0
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				cpus++
			}
		}
	}
	kernel, _ := exec.Command("uname", "-sr").Output()
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%d × %s, %s, %s, load average at the end %s", cpus, model, strings.TrimSpace(string(kernel)), runtime.Version(),
		strings.Join(strings.Fields(string(load))[:3], " "))
}

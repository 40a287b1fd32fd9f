package main

import (
	"iter"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A sample is a line of a page of metrics.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

var labelled = regexp.MustCompile(`(\w+)="([^"]*)"`)

// samples are the lines of a page that are of the named metrics. Label values
// hold no quotes here.
func samples(text string, names ...string) iter.Seq[sample] {
	return func(yield func(sample) bool) {
		for line := range strings.Lines(text) {
			name, rest, ok := strings.Cut(line, "{")
			if !ok || !slices.Contains(names, name) {
				continue
			}
			labels, value, _ := strings.Cut(rest, "} ")
			v, err := strconv.ParseFloat(first(value), 64)
			if err != nil {
				continue
			}
			s := sample{name: name, value: v, labels: map[string]string{}}
			for _, m := range labelled.FindAllStringSubmatch(labels, -1) {
				s.labels[m[1]] = m[2]
			}
			if !yield(s) {
				return
			}
		}
	}
}

// first is the first word of a text.
func first(text string) string {
	for word := range strings.FieldsSeq(text) {
		return word
	}
	return ""
}

// series is how many lines of a page are not comments.
func series(text string) (n int) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			n++
		}
	}
	return n
}

// A timed is one layer of one target, a timing what is reported of it: how many
// probes there were, and how long the latest took, or all of them.
type (
	timed struct {
		layer  layer
		target int
	}
	timing struct {
		count   int
		seconds float64
	}
)

// took is how long the one probe took that was made since before; NaN if there
// was none or several.
func (p *peer) took(before, now map[timed]timing, of timed) float64 {
	b, ok := before[of]
	n := now[of]
	switch {
	case !ok || n.count != b.count+1:
		return math.NaN()
	case p.sums:
		return n.seconds - b.seconds
	}
	return n.seconds
}

// numberOf is the target that a name is of; -1 if it is of none.
func numberOf(name string) int {
	digits, ok := strings.CutPrefix(name, "t")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return -1
	}
	return n
}

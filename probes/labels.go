package probes

import (
	"fmt"
	"strings"
	"unique"
)

// Labels are the values of labels, in order. Those of one target are mostly
// those of all others, so they are one text for all who have the same. Their
// zero value is no labels.
type Labels struct {
	text unique.Handle[string] // each value with labelEnd after it
}

// labelEnd ends the value of a label. No text that is valid UTF-8 holds it.
const labelEnd = "\xff"

// LabelsOf returns the values as Labels. What is not UTF-8 in them is replaced.
func LabelsOf(values ...string) Labels {
	if len(values) == 0 {
		return Labels{}
	}
	var array [100]byte // most fit in
	text := array[:0]
	for _, v := range values {
		text = append(append(text, strings.ToValidUTF8(v, "\uFFFD")...), labelEnd...)
	}
	return Labels{unique.Make(string(text))}
}

// Append appends the values to a list.
func (l Labels) Append(values []string) []string {
	if l == (Labels{}) {
		return values
	}
	for rest := l.text.Value(); rest != ""; {
		var v string
		v, rest, _ = strings.Cut(rest, labelEnd)
		values = append(values, v)
	}
	return values
}

func (l Labels) String() string { return fmt.Sprint(l.Append(nil)) }

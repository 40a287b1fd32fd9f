package probes

import (
	"slices"
	"testing"
)

func TestLabels(t *testing.T) {
	for _, values := range [][]string{nil, {""}, {"NOERROR"}, {"", "a", "", "b c", ""}, {"\xc3\xbc", "\x00"}} {
		l := LabelsOf(values...)
		if got := l.Append([]string{"x"}); !slices.Equal(got, append([]string{"x"}, values...)) {
			t.Errorf("%q became %q", values, got)
		}
		if l != LabelsOf(slices.Clone(values)...) || l == LabelsOf(append(values, "")...) {
			t.Errorf("%q: equal labels differ, or different ones are equal", values)
		}
	}
	if got := LabelsOf("a\xff", "b").Append(nil); !slices.Equal(got, []string{"a\uFFFD", "b"}) {
		t.Errorf("what ends a label is taken for an end: %q", got)
	}
}

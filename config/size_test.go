package config

import (
	"fmt"
	"strings"
	"testing"
)

// manyTargets is a file of n targets as large as real ones.
func manyTargets(n int) string {
	var b strings.Builder
	b.WriteString("targets:\n")
	for i := range n {
		fmt.Fprintf(&b, `  - name: target-%05d
    api: a1b2c3d4e5
    region: eu-west-1
    stage: prod
    path: /health
    via: [private-dns, endpoint]
    endpoint:
      id: vpce-0a1b2c3d4e5f67890
      dns_name: vpce-0a1b2c3d4e5f67890-abcdefgh.execute-api.eu-west-1.vpce.amazonaws.com
      addresses: [10.0.1.17, 10.0.2.23]
    sign: true
`, i)
	}
	return b.String()
}

// A file of 10,000 targets is not too large.
func TestManyTargets(t *testing.T) {
	l := load(t, manyTargets(10_000))
	if len(l.Targets) != 10_000 || l.Targets[9_999].Name != "target-09999" {
		t.Errorf("%d targets", len(l.Targets))
	}
}

func BenchmarkLoad10kTargets(b *testing.B) {
	path := write(b, manyTargets(10_000))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(Options{Path: path}); err != nil {
			b.Fatal(err)
		}
	}
}

// Files that were made to be expensive are refused at the same price as others.
func TestExpensiveFiles(t *testing.T) {
	for name, text := range map[string]string{
		"nested lists":     strings.Repeat("[", 100_000),
		"nested mappings":  strings.Repeat("{a: ", 100_000),
		"nested blocks":    nestedBlocks(2_000),
		"unknown keys":     unknownKeys(200_000),
		"broken far below": manyTargets(2_000) + " x: [\n" + manyTargets(2_000),
		"opened far above": "body: \"\n" + manyTargets(2_000),
		"a binary file":    strings.Repeat("\x00\x01\xfe\xff", 100_000),
		"wide aliases":     "a: &a [x]\nb: [" + strings.Repeat("*a, ", 100_000) + "]\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := complaints(t, Options{}, text)
			if len(got) > most+1 {
				t.Errorf("%d problems", len(got))
			}
		})
	}
}

func nestedBlocks(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func unknownKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	return b.String()
}

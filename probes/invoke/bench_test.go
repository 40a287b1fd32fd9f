package invoke

import (
	"bufio"
	"strings"
	"testing"
)

// What reading an ordinary answer costs, beside the network.
func BenchmarkRead(b *testing.B) {
	text := gatewayAnswer("200 OK", "", `{"status":"ok"}`)
	k := &call{secrets: []string{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", strings.Repeat("t", 900)}}
	for b.Loop() {
		r := &reply{}
		if err := r.readFrom(bufio.NewReader(strings.NewReader(text)), "GET"); err != nil {
			b.Fatal(err)
		}
		k.forms = nil
		a := &Answer{}
		fill(a, r, k.known())
		match(a)
	}
}

//go:build linux

package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vpcprobe/lab/netns"
)

func TestMain(m *testing.M) {
	netns.Enter(map[string]netns.Child{"trace": traceChild, "diagnose": diagnoseChild})
	goleak.VerifyTestMain(m)
}

// An order is what a confined child of the tests is asked to trace.
type order struct {
	Target   netip.AddrPort
	Options  Options
	Old      bool   // behave as on Linux before 5.8
	Runs     int    // traces, one after the other; 0 means one
	Remember bool   // with what the latest one taught
	Memory   bool   // with a Memory
	MTU      string // a server name: probe the path's MTU instead
}

// traceChild carries out an order, as nobody and without any rights.
func traceChild(args []string) error {
	var o order
	if err := json.Unmarshal([]byte(args[0]), &o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out := json.NewEncoder(os.Stdout)
	for i := 0; o.MTU != "" && i < max(o.Runs, 1); i++ {
		r, err := ProbeMTU(ctx, o.Target, o.MTU)
		if err != nil {
			return err
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	if o.MTU != "" {
		return nil
	}
	o.Options.oldKernel = o.Old
	stamps := keepStamping()
	defer stamps.release()
	var m Memory
	run := Run
	if o.Memory {
		run = m.Trace
	}
	for range max(o.Runs, 1) {
		r, err := run(ctx, o.Target, o.Options)
		if err != nil {
			return err
		}
		if r.Conn != nil {
			r.Conn.Close()
		}
		if o.Remember {
			o.Options.Prior = r.teach()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// carryOut runs an order inside a host of the lab and returns what came of it.
func carryOut[R any](t *testing.T, host *netns.Namespace, o order) []R {
	t.Helper()
	arg, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	out, err := host.Confined("trace", string(arg))
	if err != nil {
		t.Fatal(err)
	}
	var results []R
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var r R
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	return results
}

// trace traces once.
func trace(t *testing.T, l *netns.Lab, o order) *Result {
	t.Helper()
	return carryOut[*Result](t, l.Client(), o)[0]
}

// describe prints a result in full, for messages.
func describe(r *Result) string {
	b, _ := json.MarshalIndent(r, "", "  ")
	return fmt.Sprintf("%s\n%s", r, b)
}

// breakWith breaks the lab.
func breakWith(t *testing.T, l *netns.Lab, faults ...netns.Fault) {
	t.Helper()
	for _, f := range faults {
		if err := f.Break(l); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
}

// nightly reports whether the long forms of tests are to be run.
func nightly() bool { return os.Getenv("VPCPROBE_NIGHTLY") == "1" }

// families are the address families, for subtests.
var families = map[string]bool{"IPv4": false, "IPv6": true}

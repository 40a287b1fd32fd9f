package metrics

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/testing/protocmp"
)

// own returns what /metrics says of the exporters and the endpoint, sorted.
func own(t *testing.T, m *Metrics) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(get(t, m, "")) {
		for _, part := range []string{"web_", "emf_", "otlp_"} {
			if rest, ok := strings.CutPrefix(line, prefix); ok && strings.HasPrefix(rest, part) {
				lines = append(lines, strings.TrimSpace(rest))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// How the exporters and the endpoint are doing is shown as it is now, and what
// is not configured is not shown.
func TestOwn(t *testing.T) {
	m := New(kinds(), Options{})
	if got := own(t, m); got != nil {
		t.Errorf("nothing is configured and shown are %q", got)
	}
	var bad error
	var dropped uint64
	var pushes Pushes
	m.Own = Own{
		WebConfig:  func() error { return bad },
		EMFDropped: func() uint64 { return dropped },
		OTLP:       func() Pushes { return pushes },
	}
	want := []string{
		`emf_dropped_rounds_total 0`, `otlp_pushes_total{result="failure"} 0`, `otlp_pushes_total{result="success"} 0`,
		`otlp_rejected_points_total 0`, `web_config_last_reload_successful 1`,
	}
	if diff := cmp.Diff(want, own(t, m)); diff != "" {
		t.Errorf("at the start (-want +got):\n%s", diff)
	}
	bad, dropped = errors.New("web.yaml:1: hunter2"), 3
	pushes = Pushes{Succeeded: 4, Failed: 5, Rejected: 6, Latest: time.Unix(1700000000, 0)}
	want = []string{
		`emf_dropped_rounds_total 3`, `otlp_last_success_timestamp_seconds 1.7e+09`,
		`otlp_pushes_total{result="failure"} 5`, `otlp_pushes_total{result="success"} 4`,
		`otlp_rejected_points_total 6`, `web_config_last_reload_successful 0`,
	}
	if diff := cmp.Diff(want, own(t, m)); diff != "" {
		t.Errorf("in trouble (-want +got):\n%s", diff)
	}
	if strings.Contains(get(t, m, ""), "hunter2") {
		t.Error("an error's text is shown")
	}
}

// What is gathered in parts is what is gathered at once.
func TestGatherParts(t *testing.T) {
	m := New(kinds(), Options{Native: true})
	for i := range 2*gathered + 1 {
		m.Record(healthy(fmt.Sprintf("t%03d", i)).r)
	}
	whole, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string]*dto.MetricFamily{}
	for f, err := range m.GatherParts() {
		if err != nil {
			t.Fatal(err)
		}
		if parts[f.GetName()] == nil {
			parts[f.GetName()] = f
			continue
		}
		if n := len(f.Metric); n > 20*gathered {
			t.Errorf("a part of %s has %d metrics", f.GetName(), n)
		}
		parts[f.GetName()].Metric = append(parts[f.GetName()].Metric, f.Metric...)
	}
	for _, want := range whole {
		got := parts[want.GetName()]
		delete(parts, want.GetName())
		if !strings.HasPrefix(want.GetName(), prefix) {
			continue // the runtime's own differ from moment to moment
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("%s (-whole +parts):\n%s", want.GetName(), diff)
		}
	}
	if len(parts) > 0 {
		t.Errorf("%d families are in parts only", len(parts))
	}
	for range m.GatherParts() {
		break // who has enough is left alone
	}
}

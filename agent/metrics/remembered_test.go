package metrics_test

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"vpcprobe/agent"
	"vpcprobe/agent/metrics"
	"vpcprobe/config"
	"vpcprobe/lab"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
)

// What follow-up requests taught stays known from walk to walk. It counts once,
// in the walk that asked.
func TestWhatIsRememberedCountsOnce(t *testing.T) {
	l, err := lab.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	l.Break(lab.APIKeyDisabled)
	a, err := agent.New([]*probes.Target{billing(t, l)}, all.Kinds, l.System(), agent.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := metrics.New(all.Kinds, metrics.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	known, last := 0, agent.Update{}
	a.Run(ctx, m, sink(func(u agent.Update) {
		if len(u.Evidence.Of("followup")) > 0 {
			known++
			last = u
		}
		if known == 4 {
			cancel()
		}
	}))
	if known != 4 {
		t.Fatalf("in %d walks something was known", known)
	}
	for _, o := range last.Fresh {
		if o.Kind == "followup" {
			t.Errorf("fresh once more: %+v", o)
		}
	}
	sent := followUps(l)
	if sent == 0 || sent != countedAs(t, m, `vpcprobe_probes_total{kind="followup"`) {
		t.Errorf("%d follow-ups were sent, not as many counted", sent)
	}
}

// A sink is a function.
type sink func(agent.Update)

func (s sink) Record(u agent.Update) { s(u) }

// billing is that target of the lab, walked often.
func billing(t *testing.T, l *lab.Lab) *probes.Target {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(path, []byte(l.Config()), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range loaded.Targets {
		if target.Name == "billing" {
			target.Every, target.WhileFailing = 100*time.Millisecond, 100*time.Millisecond
			return target
		}
	}
	t.Fatal("the lab has no billing")
	return nil
}

func followUps(l *lab.Lab) (sent int) {
	for _, r := range l.Requests() {
		if strings.HasPrefix(r.UserAgent, "vpcprobe-followup/") {
			sent++
		}
	}
	return sent
}

// countedAs is the sum of the series that begin like this.
func countedAs(t *testing.T, m *metrics.Metrics, begin string) (sum int) {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, begin) {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(line[strings.LastIndex(line, " "):]))
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

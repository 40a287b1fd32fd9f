package agent

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpcprobe/probes"
)

// A detail is what a kind might say.
type detail struct {
	Status int    `json:"status"`
	Server string `json:"server"`
}

func (d *detail) String() string { return "403 Forbidden by " + d.Server }

func exampleRound() Round {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.FixedZone("CET", 3600))
	skew := &probes.Metric{Name: "clock_skew_seconds", Labels: []string{"kind", "address", "source"}}
	lookup := probes.Observation{
		Kind: "resolve", Name: "api.test", Resolver: "system", Start: at, Outcome: probes.OK,
		Phases: []probes.Phase{{Name: probes.PhaseResolve, Took: 1234567 * time.Nanosecond}},
		Values: []probes.Value{probes.Delay.Is(0.0075)},
	}
	denied := probes.Observation{
		Kind: "invoke", Via: probes.ViaPrivateDNS, Name: "api.test", Addr: lane(1).Addr, Start: at.Add(2 * time.Millisecond),
		Outcome: probes.Denied, Err: errors.New("<b>403</b> & more"), Detail: &detail{403, "<gateway>"},
		Phases: []probes.Phase{{Name: probes.PhaseProcessing, Took: 20 * time.Millisecond}, {Name: probes.PhaseTransfer, Took: time.Millisecond}},
		Values: []probes.Value{skew.Is(-1.5, "date"), skew.Is(math.NaN(), "none")},
	}
	return Round{
		Evidence: probes.Evidence{Target: &probes.Target{Name: "orders", Kind: probes.PrivateAPI, Settings: &probes.Settings{}}, Lanes: lanes(1)()}.
			With("resolve", []probes.Observation{lookup}).With("invoke", []probes.Observation{denied}),
		Findings: []probes.Finding{{
			Rule: &probes.Rule{
				ID: "resource-policy", Severity: probes.Error, Title: "the resource policy denies the caller",
				Means: "It says so.", Fix: "Change it.", Source: "the guide",
			},
			Certainty: probes.Likely, Because: []probes.Observation{denied}, Notes: []string{"request id 1"},
		}, {
			Rule:      &probes.Rule{ID: "expected-one", Severity: probes.Warning, Title: "t", Means: "m", Fix: "f", Source: "s"},
			Certainty: probes.Certain, Expected: true,
		}},
		Verdict: Unreachable, Started: at, Since: at.Add(-time.Hour), Took: 30 * time.Millisecond, Paths: 1, Failing: 1,
	}
}

// The document is a contract: its golden file changes only with intent.
func TestDocumentGolden(t *testing.T) {
	never := Round{Evidence: probes.Evidence{Target: target("carts")}, Verdict: Unknown}
	doc := NewDocument("v1.2.3", time.Date(2026, 11, 22, 11, 0, 5, 0, time.UTC), []Round{exampleRound(), never})
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/document.json", b.String())
}

// golden compares with a file, or writes it if UPDATE_GOLDEN is set.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs; if that is meant, run the test with UPDATE_GOLDEN=1:\n%s", path, diff)
	}
}

// docs/json.md describes every field, and names none that does not exist.
func TestDocumentIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) > 2 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			documented[strings.Trim(strings.TrimSpace(cells[1]), "`")] = true
		}
	}
	fields := map[string]bool{}
	collectFields(reflect.TypeFor[Document](), "", fields)
	collectFields(reflect.TypeFor[Findings](), "", fields)
	for f := range fields {
		if !documented[f] {
			t.Errorf("%s is not documented", f)
		}
	}
	for f := range documented {
		if !fields[f] {
			t.Errorf("%s is documented but does not exist", f)
		}
	}
	if len(fields) < 50 {
		t.Errorf("only %d fields", len(fields))
	}
}

func collectFields(t reflect.Type, prefix string, fields map[string]bool) {
	switch {
	case t == reflect.TypeFor[time.Time](), t == reflect.TypeFor[json.RawMessage]():
		return
	case t.Kind() == reflect.Pointer:
		collectFields(t.Elem(), prefix, fields)
	case t.Kind() == reflect.Slice:
		collectFields(t.Elem(), prefix+"[]", fields)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			path := strings.TrimPrefix(prefix+"."+name, ".")
			fields[path] = true
			collectFields(f.Type, path, fields)
		}
	}
}

// What a kind says in its detail may be unfit for JSON; the rest of the
// document is not.
func TestDetailThatCannotBeRendered(t *testing.T) {
	r := Round{Evidence: probes.Evidence{Target: target("orders")}.With("x", []probes.Observation{
		{Kind: "x", Outcome: probes.OK, Detail: math.NaN()},
		{Kind: "x", Outcome: probes.OK, Detail: (*detail)(nil)},
	})}
	b, err := json.Marshal(NewDocument("", time.Now(), []Round{r}))
	if err != nil {
		t.Fatal(err)
	}
	var d Document
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	if o := d.Targets[0].Observations; len(o) != 2 || d.Summary.Unknown != 1 || o[0].Detail != nil || o[1].Text != "" {
		t.Errorf("%+v", o)
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		o    probes.Observation
		want string
	}{
		{probes.Observation{}, ""},
		{probes.Observation{Err: errors.New("no route")}, "no route"},
		{probes.Observation{Detail: &detail{403, "x"}}, "403 Forbidden by x"},
		{probes.Observation{Detail: &detail{403, "x"}, Err: errors.New("cut off")}, "403 Forbidden by x: cut off"},
		{probes.Observation{Detail: &detail{403, "x"}, Err: errors.New("403 Forbidden")}, "403 Forbidden by x"},
	} {
		if got := Text(tt.o); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

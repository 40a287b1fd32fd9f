package artifacts

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	yamlv3 "go.yaml.in/yaml/v3"

	"vpcprobe/agent/metrics"
	"vpcprobe/probes/all"
)

// A declaration is a metric as the product declares it.
type declaration struct {
	typ    string
	labels []string
}

// declared are the metrics by name, as the reference has them, and those that
// the rules record.
func declared(t testing.TB) map[string]declaration {
	t.Helper()
	rows := regexp.MustCompile("(?m)^\\| `(vpcprobe_[a-z0-9_]+)` \\| ([a-z]+) \\| ([^|]*) \\|").FindAllStringSubmatch(metrics.Reference(all.Kinds), -1)
	if len(rows) < 30 {
		t.Fatalf("the reference has %d metrics", len(rows))
	}
	found := map[string]declaration{
		"ALERTS": {"gauge", []string{"alertname", "alertstate", "severity", "target", "instance"}},
		"up":     {"gauge", nil},
	}
	for _, r := range rows {
		d := declaration{r[2], strings.Split(r[3], ", ")}
		if d.typ != "histogram" {
			found[r[1]] = d
			continue
		}
		found[r[1]] = d // a native one
		found[r[1]+"_bucket"] = declaration{"counter", append([]string{"le"}, d.labels...)}
		found[r[1]+"_sum"], found[r[1]+"_count"] = declaration{"counter", d.labels}, declaration{"counter", d.labels}
	}
	for _, g := range ruleGroups(t) {
		for _, r := range g.Rules {
			if r.Record != "" {
				found[r.Record] = declaration{"gauge", []string{"target"}}
			}
		}
	}
	return found
}

// closed are the labels whose values are words of ours.
func closed(t testing.TB) map[string][]string {
	t.Helper()
	return map[string][]string{
		"verdict":  {"reachable", "degraded", "unreachable", "unknown"},
		"severity": {"error", "warning", "notice", "critical"},
		"kind":     kinds(),
		"finding":  findings(),
		"phase":    {"resolve", "connect", "credentials", "tls", "processing", "transfer"},
		"result":   {"success", "failure", "skipped", "fault"},
		"role":     {"server", "client", "truststore"},
	}
}

// scraped are the labels that Prometheus adds to every series.
var scraped = []string{"instance", "job", "namespace", "pod"}

// query checks an expression: its syntax, that its metrics and their labels
// exist, that counters are rated, and that label values of ours exist.
func query(t testing.TB, where, expr string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v\n%s", where, err, expr)
		return
	}
	known := declared(t)
	parser.Inspect(parsed, func(n parser.Node, path []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			vector(t, where, n, known, path)
		case *parser.AggregateExpr:
			for _, l := range n.Grouping {
				if !slices.Contains(labelsBelow(n.Expr, known), l) && !slices.Contains(scraped, l) {
					t.Errorf("%s: by (%s): no metric below has this label\n%s", where, l, n)
				}
			}
		}
		return nil
	})
}

func labelsBelow(e parser.Expr, known map[string]declaration) []string {
	var all []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			all = append(all, known[s.Name].labels...)
		}
		return nil
	})
	return all
}

// ofCounters are the functions that a counter may be given to, beside absent.
var ofCounters = []string{"rate", "increase", "irate"}

func vector(t testing.TB, where string, s *parser.VectorSelector, known map[string]declaration, path []parser.Node) {
	t.Helper()
	d, ok := known[s.Name]
	if !ok {
		t.Errorf("%s: there is no metric %q", where, s.Name)
		return
	}
	if d.typ == "counter" && !slices.ContainsFunc(path, func(n parser.Node) bool {
		c, ok := n.(*parser.Call)
		return ok && slices.Contains(ofCounters, c.Func.Name)
	}) {
		t.Errorf("%s: %s is a counter and is not rated", where, s.Name)
	}
	words := closed(t)
	for _, m := range s.LabelMatchers {
		if m.Name == "__name__" {
			continue
		}
		if !slices.Contains(d.labels, m.Name) && !slices.Contains(scraped, m.Name) {
			t.Errorf("%s: %s has no label %s, but %v", where, s.Name, m.Name, d.labels)
		}
		if of := words[m.Name]; of != nil && !strings.HasPrefix(m.Value, "$") {
			for word := range strings.SplitSeq(m.Value, "|") {
				if !slices.Contains(of, word) && word != ".*" {
					t.Errorf("%s: %s is never %q", where, m.Name, word)
				}
			}
		}
	}
}

// Rules

type rule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

type group struct {
	Name     string
	Interval string
	Rules    []rule
}

func ruleGroups(t testing.TB) []group {
	t.Helper()
	var file struct{ Groups []group }
	if err := yamlv3.Unmarshal([]byte(read(t, at("deploy/prometheus/vpcprobe.yaml"))), &file); err != nil {
		t.Fatal(err)
	}
	return file.Groups
}

func TestRules(t *testing.T) {
	t.Parallel()
	tool(t, "promtool")
	must(t, at("deploy/prometheus"), "promtool", "check", "rules", "vpcprobe.yaml")
	must(t, at("deploy/prometheus"), "promtool", "test", "rules", "vpcprobe_test.yaml")
}

// docs is where runbooks are.
const docs = "https://github.com/vpcprobe/vpcprobe/blob/main/docs/"

func TestRulesNameWhatExists(t *testing.T) {
	t.Parallel()
	tested := read(t, at("deploy/prometheus/vpcprobe_test.yaml"))
	anchors := read(t, at("docs/alerts.md"))
	for _, g := range ruleGroups(t) {
		for _, r := range g.Rules {
			query(t, r.Record+r.Alert, r.Expr)
			if r.Alert == "" {
				continue
			}
			if !strings.Contains(tested, "alertname: "+r.Alert+"\n        exp_alerts:\n") {
				t.Errorf("%s: no test expects it", r.Alert)
			}
			runbook(t, r, anchors)
			if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
			}
		}
	}
}

// runbook checks that an alert's runbook exists.
func runbook(t testing.TB, r rule, alerts string) {
	t.Helper()
	url := r.Annotations["runbook_url"]
	if url == docs+"findings.md#{{ $labels.finding }}" {
		return // the anchors are the ids: the product's own tests see to that
	}
	anchor, ok := strings.CutPrefix(url, docs+"alerts.md#")
	if !ok || !regexp.MustCompile(`(?im)^## `+regexp.QuoteMeta(anchor)+`$`).MatchString(alerts) {
		t.Errorf("%s: docs/alerts.md has no section for %s", r.Alert, url)
	}
	if !strings.Contains(alerts, r.Alert) {
		t.Errorf("docs/alerts.md does not name %s", r.Alert)
	}
}

// The burn rates of the SRE Workbook: what they mean follows from the objective.
func TestBurnRates(t *testing.T) {
	t.Parallel()
	want := map[string][2]string{"14.4": {"1h", "5m"}, "6": {"6h", "30m"}, "3": {"1d", "2h"}, "1": {"3d", "6h"}}
	for _, g := range ruleGroups(t) {
		for _, r := range g.Rules {
			m := regexp.MustCompile(`ratio_rate(\w+) > \(([0-9.]+) \* 0\.001\)\s+and target:vpcprobe_walk_errors:ratio_rate(\w+) > \(([0-9.]+) \* 0\.001\)`).FindStringSubmatch(r.Expr)
			if m == nil {
				continue
			}
			if m[2] != m[4] || want[m[2]] != [2]string{m[1], m[3]} {
				t.Errorf("%s: %v", r.Alert, m[1:])
			}
			delete(want, m[2])
		}
	}
	if len(want) > 0 {
		t.Errorf("no alert for %v", want)
	}
}

// Dashboard

type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ H, W, X, Y int }
	Datasource  struct{ UID string }
	Targets     []struct {
		RefID, Expr string
		Datasource  struct{ UID string }
	}
}

type dashboard struct {
	UID, Title  string
	Panels      []panel
	Annotations struct{ List []struct{ Name, Expr string } }
	Templating  struct {
		List []struct {
			Name, Type string
			Query      any
		}
	}
}

func TestDashboard(t *testing.T) {
	t.Parallel()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, at("deploy/grafana/vpcprobe.json"))), &d); err != nil {
		t.Fatal(err)
	}
	variables := map[string]bool{"__rate_interval": true, "__range": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if q, ok := v.Query.(map[string]any); ok {
			labelValues(t, v.Name, fmt.Sprint(q["query"]))
		}
	}
	ids, taken := map[int]bool{}, map[[2]int]int{}
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		placed(t, p, taken)
		if p.Type != "row" && (p.Description == "" || len(p.Targets) == 0) {
			t.Errorf("%s: no description or no targets", p.Title)
		}
		for _, q := range p.Targets {
			if q.Datasource.UID != "${datasource}" {
				t.Errorf("%s: data source %s", p.Title, q.Datasource.UID)
			}
			query(t, "panel "+p.Title, expanded(t, p.Title, q.Expr, variables))
		}
	}
	for _, a := range d.Annotations.List {
		query(t, "annotation "+a.Name, a.Expr)
	}
}

// placed checks that panels do not overlap.
func placed(t testing.TB, p panel, taken map[[2]int]int) {
	t.Helper()
	g := p.GridPos
	if g.W <= 0 || g.H <= 0 || g.X+g.W > 24 {
		t.Errorf("%s: %+v", p.Title, g)
	}
	for x := g.X; x < g.X+g.W; x++ {
		for y := g.Y; y < g.Y+g.H; y++ {
			if other, ok := taken[[2]int{x, y}]; ok {
				t.Fatalf("panels %d and %d overlap", p.ID, other)
			}
			taken[[2]int{x, y}] = p.ID
		}
	}
}

// expanded replaces Grafana's variables by what they may stand for.
func expanded(t testing.TB, where, expr string, variables map[string]bool) string {
	t.Helper()
	return regexp.MustCompile(`\$\{?(\w+)\}?`).ReplaceAllStringFunc(expr, func(s string) string {
		name := strings.Trim(s, "${}")
		if !variables[name] {
			t.Errorf("%s: there is no variable %s", where, name)
		}
		if strings.HasPrefix(name, "__") {
			return "5m"
		}
		return ".*"
	})
}

func labelValues(t testing.TB, where, text string) {
	t.Helper()
	m := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(text)
	if m == nil {
		t.Errorf("variable %s: %s", where, text)
		return
	}
	if d, ok := declared(t)[m[1]]; !ok || !slices.Contains(d.labels, m[2]) && !slices.Contains(scraped, m[2]) {
		t.Errorf("variable %s: %s has no label %s", where, m[1], m[2])
	}
}

// The checks above can fail.
func TestQueriesThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{
		`sum(vpcprobe_no_such_metric)`,
		`vpcprobe_verdict{verdict="fine"}`,
		`vpcprobe_verdict{zone="a"}`,
		`sum by (address) (vpcprobe_verdict)`,
		`vpcprobe_walks_total > 5`,
		`vpcprobe_success{kind="ping"}`,
		`rate(vpcprobe_walks_total[5m]`,
	} {
		c := &counting{TB: t}
		query(c, "test", expr)
		if c.errors == 0 {
			t.Errorf("accepted: %s", expr)
		}
	}
}

// counting counts errors instead of reporting them.
type counting struct {
	testing.TB
	errors int
}

func (c *counting) Helper()               {}
func (c *counting) Errorf(string, ...any) { c.errors++ }

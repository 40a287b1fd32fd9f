package artifacts

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vpcprobe/agent/export"
)

// written are the metrics that the agent writes in the embedded metric format,
// by their dimensions, as the package's comment has them.
func written(t testing.TB) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	source := read(t, at("agent/export/emf.go"))
	for _, m := range regexp.MustCompile(`(?m)^//\t\[([A-Za-z, ]+)\] +([A-Za-z, ]+)`).FindAllStringSubmatch(source, -1) {
		dimensions := strings.Split(m[1], ", ")
		slices.Sort(dimensions)
		for name := range strings.SplitSeq(m[2], ", ") {
			if !strings.Contains(source, `metric("`+strings.TrimSpace(name)+`"`) {
				t.Errorf("the agent does not write %s", name)
			}
			found[strings.Join(dimensions, ",")] = append(found[strings.Join(dimensions, ",")], strings.TrimSpace(name))
		}
	}
	if len(found) != 3 {
		t.Fatalf("metrics: %v", found)
	}
	return found
}

func TestCloudWatch(t *testing.T) {
	t.Parallel()
	known := written(t)
	template := cloudFormation(t, "deploy/cloudwatch/cloudformation.yaml")
	refers(t, template)
	alarms := 0
	for name, r := range template["Resources"].(map[string]any) {
		resource := r.(map[string]any)
		properties := resource["Properties"].(map[string]any)
		switch resource["Type"] {
		case "AWS::CloudWatch::Alarm":
			alarms++
			if properties["Namespace"] != export.Namespace || !slices.Contains(known["Target"], properties["MetricName"].(string)) {
				t.Errorf("%s: nobody writes %v %v", name, properties["Namespace"], properties["MetricName"])
			}
			if got := fmt.Sprint(properties["Dimensions"]); got != "[map[Name:Target Value:${Target}]]" {
				t.Errorf("%s: dimensions %s", name, got)
			}
		case "AWS::CloudWatch::Dashboard":
			if given, ok := properties["DashboardName"]; ok {
				t.Errorf("the dashboard is called %s: targets may have names that dashboards may not", given)
			}
			widgets(t, properties["DashboardBody"].(string), known)
		}
	}
	if alarms != 4 {
		t.Errorf("%d alarms", alarms)
	}
}

var search = regexp.MustCompile(`^SEARCH\('\{(\w+),([\w,]+)\} MetricName="(\w+)" Target="\$\{Target\}"', '(Maximum|Sum|p99)', 60\)$`)

// widgets checks that each metric on the dashboard is one that is written.
func widgets(t testing.TB, body string, known map[string][]string) {
	t.Helper()
	var d struct {
		Widgets []struct {
			Type                string
			X, Y, Width, Height int
			Properties          struct {
				Title, Region, View string
				Stacked             bool
				Period              int
				YAxis               any
				Metrics             [][]any
			}
		}
	}
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	for _, w := range d.Widgets {
		for _, m := range w.Properties.Metrics {
			namespace, dimensions, name := "", "Target", ""
			if expression, ok := m[0].(map[string]any); ok {
				parts := search.FindStringSubmatch(fmt.Sprint(expression["expression"]))
				if parts == nil {
					t.Errorf("%s: %v", w.Properties.Title, expression)
					continue
				}
				namespace, dimensions, name = parts[1], parts[2], parts[3]
			} else {
				namespace, name = m[0].(string), m[1].(string)
			}
			if namespace != export.Namespace || !slices.Contains(known[dimensions], name) {
				t.Errorf("%s: nobody writes %s %s by %s", w.Properties.Title, namespace, name, dimensions)
			}
		}
	}
	if len(d.Widgets) == 0 {
		t.Error("no widgets")
	}
}

package artifacts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"

	"vpcprobe/config"
)

// The schema of the chart's values embeds the configuration's own.
func TestChartSchema(t *testing.T) {
	t.Parallel()
	path := at(chart + "/values.schema.json")
	var schema map[string]any
	if err := json.Unmarshal([]byte(read(t, path)), &schema); err != nil {
		t.Fatal(err)
	}
	text, err := config.Schema(kinds(), findings())
	if err != nil {
		t.Fatal(err)
	}
	var own map[string]any
	if err := json.Unmarshal(text, &own); err != nil {
		t.Fatal(err)
	}
	schema["$defs"] = quoted(own["$defs"])
	for _, k := range []string{"$defs", "$schema", "title", "required"} {
		delete(own, k)
	}
	// The template asks for targets, and says where else they may come from.
	delete(own["properties"].(map[string]any)["targets"].(map[string]any), "minItems")
	schema["properties"].(map[string]any)["config"] = quoted(own)
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		t.Fatal(err)
	}
	generated(t, path, want.String())
}

// generated checks that a file is up to date.
func generated(t testing.TB, path, want string) {
	t.Helper()
	if *update {
		write(t, path, want)
	}
	if read(t, path) != want {
		t.Errorf("%s is stale: run .ci/artifacts/run -update", path)
	}
}

// quoted returns a schema that takes texts as texts only. The agent reads the
// source text of a scalar, but Helm has made a number of 0123456701 before.
func quoted(schema any) any {
	switch s := schema.(type) {
	case []any:
		for i := range s {
			s[i] = quoted(s[i])
		}
	case map[string]any:
		for k := range s {
			s[k] = quoted(s[k])
		}
		if types, ok := s["type"].([]any); ok && slices.Contains(types, any("string")) {
			s["type"] = slices.DeleteFunc(types, func(v any) bool { return v == "number" || v == "boolean" })
		}
	}
	return schema
}

// Every value is in the schema, and every value of the schema in the defaults.
func TestChartValuesAreInTheSchema(t *testing.T) {
	t.Parallel()
	var schema struct {
		Properties map[string]struct{ Properties map[string]any }
	}
	if err := json.Unmarshal([]byte(read(t, at(chart+"/values.schema.json"))), &schema); err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{"enabled": true}
	for _, v := range chartValues(t) {
		documented[v.Key] = true
	}
	for key, below := range schema.Properties {
		if !documented[key] {
			t.Errorf("values.yaml lacks %s", key)
		}
		for k := range below.Properties {
			if key != "config" && key != "resources" && key != "dnsConfig" && !documented[key+"."+k] && !documented[key] {
				t.Errorf("values.yaml lacks %s.%s", key, k)
			}
		}
	}
}

// A value is one of the chart's values, with its comment.
type value struct{ Key, Default, Doc string }

// chartValues reads values.yaml with its comments: of keys that are documented,
// and of the mappings that hold such keys.
func chartValues(t testing.TB) []value {
	t.Helper()
	var doc yamlv3.Node
	if err := yamlv3.Unmarshal([]byte(read(t, at(chart+"/values.yaml"))), &doc); err != nil {
		t.Fatal(err)
	}
	var values []value
	var walk func(string, *yamlv3.Node)
	walk = func(prefix string, n *yamlv3.Node) {
		for i := 0; i < len(n.Content); i += 2 {
			key, below := n.Content[i], n.Content[i+1]
			v := value{Key: prefix + key.Value, Doc: comment(key.HeadComment), Default: defaultOf(t, below)}
			if v.Doc == "" && (below.Kind != yamlv3.MappingNode || prefix != "") {
				t.Errorf("values.yaml: %s has no comment that begins with --", v.Key)
			}
			values = append(values, v)
			if v.Doc == "" {
				walk(v.Key+".", below)
			}
		}
	}
	walk("", doc.Content[0])
	return values
}

// comment is the text after the --.
func comment(head string) string {
	_, text, ok := strings.Cut(head, "# -- ")
	if !ok {
		return ""
	}
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\n#", " ")), " ")
}

func defaultOf(t testing.TB, n *yamlv3.Node) string {
	t.Helper()
	var v any
	if err := n.Decode(&v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The chart's README has a table of all values.
func TestChartReadme(t *testing.T) {
	t.Parallel()
	path := at(chart + "/README.md")
	const begin = "<!-- Generated from values.yaml by .ci/artifacts/run -update. Do not edit below. -->\n"
	head, _, ok := strings.Cut(read(t, path), begin)
	if !ok {
		t.Fatalf("%s lacks %s", path, begin)
	}
	var b strings.Builder
	b.WriteString(head + begin + "\n| value | default | meaning |\n|---|---|---|\n")
	for _, v := range chartValues(t) {
		if v.Doc != "" {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", v.Key, v.Default, strings.ReplaceAll(v.Doc, "|", `\|`))
		}
	}
	generated(t, path, b.String())
}

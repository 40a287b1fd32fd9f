package artifacts

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"
)

// grants checks a policy document: its keys, and that it grants no more than
// single actions on named resources.
func grants(t testing.TB, where string, document map[string]any) {
	t.Helper()
	if document["Version"] != "2012-10-17" || len(document) != 2 {
		t.Errorf("%s: %v", where, document)
	}
	statements, ok := document["Statement"].([]any)
	if !ok || len(statements) == 0 {
		t.Errorf("%s: no statements", where)
	}
	for _, s := range statements {
		statement(t, where, s.(map[string]any))
	}
}

var action = regexp.MustCompile(`^[a-z0-9-]+:[A-Z][A-Za-z]+$`)

func statement(t testing.TB, where string, s map[string]any) {
	t.Helper()
	for k := range s {
		if !slices.Contains([]string{"Sid", "Effect", "Action", "Resource", "Principal", "Condition"}, k) {
			t.Errorf("%s: %s is no key of a statement", where, k)
		}
	}
	if s["Effect"] != "Allow" || (s["Resource"] == nil) == (s["Principal"] == nil) {
		t.Errorf("%s: %v", where, s)
	}
	actions := texts(s["Action"])
	for _, a := range actions {
		if !action.MatchString(a) {
			t.Errorf("%s: the action %q is not a single one", where, a)
		}
	}
	for _, r := range texts(s["Resource"]) {
		all := slices.Equal(actions, []string{"ecr:GetAuthorizationToken"}) // has no resources
		if r == "*" && !all || strings.HasPrefix(actions[0], "execute-api:") && strings.Contains(r, "*") {
			t.Errorf("%s: %v on %s", where, actions, r)
		}
	}
	if p, ok := s["Principal"]; ok && p == "*" {
		t.Errorf("%s: everybody may", where)
	}
}

// texts is a text or a list of them.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, e := range v {
			all = append(all, e.(string))
		}
		return all
	}
	return nil
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(at("deploy/iam/*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	readme := read(t, at("deploy/iam/README.md"))
	for _, f := range files {
		var document map[string]any
		if err := json.Unmarshal([]byte(read(t, f)), &document); err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		grants(t, filepath.Base(f), document)
		if !strings.Contains(readme, filepath.Base(f)) {
			t.Errorf("deploy/iam/README.md does not name %s", filepath.Base(f))
		}
	}
}

// The check above can fail.
func TestPoliciesThatAreWrong(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{Version: "2012-10-17", Statement: [{Effect: Allow, Action: "execute-api:*", Resource: "arn:aws:execute-api:eu-west-1:1:a/s/GET/x"}]}`,
		`{Version: "2012-10-17", Statement: [{Effect: Allow, Action: execute-api:Invoke, Resource: "*"}]}`,
		`{Version: "2012-10-17", Statement: [{Effect: Allow, Action: execute-api:Invoke, Resources: "arn:aws:execute-api:eu-west-1:1:a/s/GET/x"}]}`,
		`{Version: "2008-10-17", Statement: [{Effect: Allow, Action: execute-api:Invoke, Resource: "arn:aws:execute-api:eu-west-1:1:a/s/GET/x"}]}`,
		`{Version: "2012-10-17", Statement: [{Effect: Allow, Action: sts:AssumeRole, Principal: "*"}]}`,
	} {
		var document map[string]any
		if err := yamlv3.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		c := &counting{TB: t}
		grants(c, "test", document)
		if c.errors == 0 {
			t.Errorf("accepted: %s", text)
		}
	}
}

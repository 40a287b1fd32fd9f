package artifacts

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	yamlv3 "go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
)

// pages are the documents about deployment.
func pages(t testing.TB) []string {
	t.Helper()
	found, err := filepath.Glob(at("docs/deploy/*.md"))
	if err != nil || len(found) < 4 {
		t.Fatal(found, err)
	}
	return append(found, at("docs/alerts.md"), at("helm/vpcprobe/README.md"), at("deploy/iam/README.md"))
}

var fenced = regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```$")

// Every YAML block is what it says: values of the chart, or a configuration of
// the agent.
func TestDocsYAML(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	blocks := 0
	for _, page := range pages(t) {
		for _, m := range fenced.FindAllStringSubmatch(read(t, page), -1) {
			if m[1] != "yaml" {
				continue
			}
			blocks++
			where := filepath.Base(page) + ":\n" + m[2]
			switch {
			case strings.HasPrefix(m[2], "# values.yaml of the application"):
				applied(t, m[2])
			case strings.HasPrefix(m[2], "# values.yaml"):
				file := filepath.Join(t.TempDir(), "values.yaml")
				write(t, file, m[2])
				objects := rendered(t, "--values", file)
				sound(t, objects)
				configured(t, objects)
			default:
				loads(t, where, m[2])
			}
		}
	}
	if blocks < 8 {
		t.Errorf("only %d blocks", blocks)
	}
}

// applied renders the chart with the values that an application gives it.
func applied(t testing.TB, text string) {
	t.Helper()
	var values map[string]any
	if err := yamlv3.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	own, err := yamlv3.Marshal(values["vpcprobe"])
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	write(t, file, string(own))
	configured(t, rendered(t, "--values", file))
}

// Every command of ours in the documents is one that the binary knows.
func TestDocsCommands(t *testing.T) {
	t.Parallel()
	commands := regexp.MustCompile("(?m)(?:^ {0,4}|`|-- /|CREDENTIALS_DIRECTORY=\\S+ )vpcprobe ((?:run|check|cert|config|explain|health|lab|trace|version)\\b[^`\n>#]*)")
	found := 0
	for _, page := range pages(t) {
		for _, m := range commands.FindAllStringSubmatch(read(t, page), -1) {
			found++
			accepted(t, filepath.Base(page), strings.Fields(m[1]))
		}
	}
	if found < 6 {
		t.Errorf("only %d commands", found)
	}
}

// The runbooks' first commands find the configuration where the agent has it:
// in the package, in the chart's container, and in the task's environment.
func TestRunbookCommands(t *testing.T) {
	t.Parallel()
	tool(t, "helm")
	page := read(t, at("docs/alerts.md"))
	d := one[*appsv1.Deployment](t, rendered(t, "--values", at(chart+"/ci/deployment-values.yaml")))
	c := d.Spec.Template.Spec.Containers[0]
	path, ok := strings.CutPrefix(c.Args[1], "--config=")
	if want := "kubectl exec --namespace NAMESPACE POD --container " + c.Name + " -- /vpcprobe check --config " + path + " TARGET\n"; !ok || !strings.Contains(page, want) {
		t.Errorf("docs/alerts.md lacks %s", want)
	}
	if want := "sudo CREDENTIALS_DIRECTORY=/etc/vpcprobe vpcprobe check " + strings.TrimPrefix(unit(t)["ExecStart"][0], "/usr/bin/vpcprobe run ") + " TARGET\n"; !strings.Contains(page, want) {
		t.Errorf("docs/alerts.md lacks %s", want)
	}

	given := regexp.MustCompile(`(?m)--task-definition (\S+) .*--overrides '(.*)'$`).FindStringSubmatch(page)
	if given == nil {
		t.Fatal("docs/alerts.md has no command for ECS")
	}
	var overrides types.TaskOverride
	strictly(t, "docs/alerts.md", given[2], &overrides)
	camelCase(t, "docs/alerts.md", given[2], reflect.TypeOf(overrides))
	var task ecs.RegisterTaskDefinitionInput
	strictly(t, "task-definition.json", read(t, at("deploy/ecs/task-definition.json")), &task)
	agent, check := task.ContainerDefinitions[0], overrides.ContainerOverrides[0]
	if *task.Family != given[1] || *agent.Name != *check.Name || !slices.Equal(agent.Command[1:], check.Command[1:3]) {
		t.Errorf("docs/alerts.md: %s %s %q is not the agent's task", given[1], *check.Name, check.Command)
	}
	accepted(t, "docs/alerts.md", check.Command)
}

// Every link within the project leads somewhere, and every finding exists.
func TestDocsLinks(t *testing.T) {
	t.Parallel()
	ids := findings()
	for _, page := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(read(t, page), -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := filepath.Join(filepath.Dir(page), file)
			if file == "" {
				target = page
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", filepath.Base(page), err)
				continue
			}
			switch {
			case anchor == "":
			case filepath.Base(file) == "findings.md":
				if !slices.Contains(ids, anchor) {
					t.Errorf("%s: there is no finding %s", filepath.Base(page), anchor)
				}
			case !slices.Contains(headings(t, target), anchor):
				t.Errorf("%s: %s has no heading %s", filepath.Base(page), file, anchor)
			}
		}
	}
}

// headings are the anchors of a document's headings.
func headings(t testing.TB, path string) []string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(read(t, path), -1) {
		words := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		found = append(found, strings.ReplaceAll(words, " ", "-"))
	}
	return found
}

// What the pages say that the agent shows is a finding.
func TestDocsFindings(t *testing.T) {
	t.Parallel()
	ids := findings()
	text := read(t, at("deploy/iam/README.md"))
	for _, m := range regexp.MustCompile("`([a-z]+(?:-[a-z]+)+)`").FindAllStringSubmatch(text, -1) {
		if !slices.Contains(ids, m[1]) {
			t.Errorf("deploy/iam/README.md: there is no finding %s", m[1])
		}
	}
}

// The Terraform block names the module's variables, with those that it needs.
func TestDocsTerraform(t *testing.T) {
	t.Parallel()
	declared := map[string]bool{} // whether it has a default
	for _, m := range regexp.MustCompile(`(?ms)^variable "(\w+)" \{(.*?)^\}`).FindAllStringSubmatch(read(t, at("deploy/ecs/terraform/variables.tf")), -1) {
		declared[m[1]] = strings.Contains(m[2], "\n  default")
	}
	block := regexp.MustCompile("(?s)```hcl\n(.*?)```").FindStringSubmatch(read(t, at("docs/deploy/ecs.md")))[1]
	given := map[string]bool{"source": true}
	for _, m := range regexp.MustCompile(`(?m)^  (\w+) +=`).FindAllStringSubmatch(block, -1) {
		if _, ok := declared[m[1]]; !ok && m[1] != "source" {
			t.Errorf("the module has no variable %s", m[1])
		}
		given[m[1]] = true
	}
	for name, optional := range declared {
		if !optional && !given[name] {
			t.Errorf("the module needs %s", name)
		}
	}
}

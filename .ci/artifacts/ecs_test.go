package artifacts

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	yamlv3 "go.yaml.in/yaml/v3"
)

// strictly decodes JSON: an unknown key is a mistake.
func strictly(t testing.TB, where, text string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Errorf("%s: %v", where, err)
	}
}

// The task definitions are what `aws ecs register-task-definition
// --cli-input-json` takes.
func TestTaskDefinitions(t *testing.T) {
	t.Parallel()
	for _, f := range []string{"task-definition.json", "task-definition-emf.json"} {
		var d ecs.RegisterTaskDefinitionInput
		text := read(t, at("deploy/ecs/"+f))
		strictly(t, f, text, &d)
		camelCase(t, f, text, reflect.TypeOf(d))
		if d.NetworkMode != types.NetworkModeAwsvpc {
			t.Errorf("%s: network mode %s", f, d.NetworkMode)
		}
		if *d.ExecutionRoleArn == *d.TaskRoleArn {
			t.Errorf("%s: one role does both what ECS and what the agent does", f)
		}
		if len(d.ContainerDefinitions) != 1 {
			t.Fatalf("%s: %d containers", f, len(d.ContainerDefinitions))
		}
		hardened(t, f, d.ContainerDefinitions[0])
	}
	var sidecar types.ContainerDefinition
	text := read(t, at("deploy/ecs/sidecar-container.json"))
	strictly(t, "sidecar-container.json", text, &sidecar)
	camelCase(t, "sidecar-container.json", text, reflect.TypeOf(sidecar))
	hardened(t, "sidecar-container.json", sidecar)
	if *sidecar.Essential {
		t.Error("the application ends with the sidecar")
	}
	loads(t, "deploy/ecs/config.yaml", read(t, at("deploy/ecs/config.yaml")))
}

// camelCase checks the case of keys, of which Go's decoder thinks nothing.
func camelCase(t testing.TB, where, text string, typ reflect.Type) {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	cased(t, where, v, typ, func(field string) string { return strings.ToLower(field[:1]) + field[1:] })
}

// hardened checks a container: what it may, how its health is asked for, and
// that the binary knows its commands and variables.
func hardened(t testing.TB, where string, c types.ContainerDefinition) {
	t.Helper()
	if !*c.ReadonlyRootFilesystem || *c.User != "65532:65532" || !slices.Equal(c.LinuxParameters.Capabilities.Drop, []string{"ALL"}) {
		t.Errorf("%s: read-only %v, user %s, capabilities %v", where, *c.ReadonlyRootFilesystem, *c.User, c.LinuxParameters.Capabilities)
	}
	accepted(t, where, c.Command)
	health := c.HealthCheck.Command
	if len(health) < 3 || health[0] != "CMD" || health[1] != "/vpcprobe" {
		t.Fatalf("%s: the image has no shell for %q", where, health)
	}
	accepted(t, where, health[2:])
	if slices.Contains(health, "--require") {
		t.Errorf("%s: ECS would replace the task during the outage that it should report", where)
	}
	env := map[string]string{}
	for _, e := range c.Environment {
		env[*e.Name] = *e.Value
	}
	configuredBy(t, where, env)
	group := c.LogConfiguration.Options["awslogs-group"]
	if made := "aws logs create-log-group --log-group-name " + group + "\n"; !strings.HasPrefix(group, "${") && !strings.Contains(read(t, at("docs/deploy/ecs.md")), made) {
		t.Errorf("%s: nobody makes the log group %s, without which the task does not start", where, group)
	}
	if labels := c.DockerLabels; labels != nil && (labels["ECS_PROMETHEUS_EXPORTER_PORT"] != "9643" || labels["ECS_PROMETHEUS_METRICS_PATH"] != "/metrics") {
		t.Errorf("%s: labels %v", where, labels)
	}
	if (c.DockerLabels != nil) == (env["VPCPROBE_METRICS_EMF"] == "true") {
		t.Errorf("%s: metrics are either scraped or written to the log", where)
	}
	if (env["VPCPROBE_LISTEN"] == ":9643") != (c.DockerLabels != nil) {
		t.Errorf("%s: listens on %q", where, env["VPCPROBE_LISTEN"])
	}
}

// configuredBy checks that the agent takes its configuration from the
// environment as the container has it.
func configuredBy(t testing.TB, where string, env map[string]string) {
	t.Helper()
	args := []string{"-i", "VPCPROBE_CONFIG=" + read(t, at("deploy/ecs/config.yaml"))}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		args = append(args, k+"="+env[k])
	}
	if out, err := output(t, root, "env", append(args, binary, "config", "validate", "--config", "env:VPCPROBE_CONFIG")...); err != nil {
		t.Errorf("%s: %v\n%s", where, err, out)
	}
}

// CloudFormation

// cloudFormation is a CloudFormation template, its functions replaced by marks.
func cloudFormation(t testing.TB, path string) map[string]any {
	t.Helper()
	var doc yamlv3.Node
	if err := yamlv3.Unmarshal([]byte(read(t, at(path))), &doc); err != nil {
		t.Fatal(err)
	}
	resolved(&doc)
	var template map[string]any
	if err := doc.Decode(&template); err != nil {
		t.Fatal(err)
	}
	return template
}

// resolved replaces !Ref NAME by the text ${NAME}, and so on.
func resolved(n *yamlv3.Node) {
	switch n.Tag {
	case "!Ref":
		n.SetString("${" + n.Value + "}")
	case "!GetAtt":
		n.SetString("${" + n.Value + "}")
	case "!Sub":
		n.SetString(n.Value)
	case "!If": // as if the condition were true
		*n = *n.Content[1]
	}
	for _, below := range n.Content {
		resolved(below)
	}
}

func TestCloudFormation(t *testing.T) {
	t.Parallel()
	template := cloudFormation(t, "deploy/ecs/cloudformation.yaml")
	for k := range template {
		if !slices.Contains([]string{"AWSTemplateFormatVersion", "Description", "Parameters", "Conditions", "Resources", "Outputs"}, k) {
			t.Errorf("section %s", k)
		}
	}
	refers(t, template)
	resources := template["Resources"].(map[string]any)
	properties := func(name string) map[string]any {
		return resources[name].(map[string]any)["Properties"].(map[string]any)
	}
	var task ecs.RegisterTaskDefinitionInput
	cased(t, "Task", properties("Task"), reflect.TypeOf(task), asIs)
	strictly(t, "Task", asJSON(t, properties("Task")), &task)
	hardened(t, "cloudformation.yaml", task.ContainerDefinitions[0])

	service := properties("Service")
	service["DesiredCount"] = 2                                                                         // a number when resolved
	network := service["NetworkConfiguration"].(map[string]any)["AwsvpcConfiguration"].(map[string]any) // lists when resolved
	network["Subnets"], network["SecurityGroups"] = []string{network["Subnets"].(string)}, []string{network["SecurityGroups"].(string)}
	var created ecs.CreateServiceInput
	cased(t, "Service", service, reflect.TypeOf(created), asIs)
	strictly(t, "Service", asJSON(t, service), &created)
	if created.AvailabilityZoneRebalancing != types.AvailabilityZoneRebalancingEnabled {
		t.Error("zones may go unwatched")
	}

	loads(t, "cloudformation.yaml", properties("Config")["Value"].(string))
	for _, role := range []string{"ExecutionRole", "TaskRole"} {
		p := properties(role)
		grants(t, role, p["AssumeRolePolicyDocument"].(map[string]any))
		for _, inline := range p["Policies"].([]any) {
			grants(t, role, inline.(map[string]any)["PolicyDocument"].(map[string]any))
		}
	}
}

// Both roles that start the task may do all that deploy/iam says is needed for
// it, an image in ECR included.
func TestExecutionRoles(t *testing.T) {
	t.Parallel()
	role := cloudFormation(t, "deploy/ecs/cloudformation.yaml")["Resources"].(map[string]any)["ExecutionRole"].(map[string]any)
	may := map[string][]string{}
	for _, inline := range role["Properties"].(map[string]any)["Policies"].([]any) {
		for _, s := range inline.(map[string]any)["PolicyDocument"].(map[string]any)["Statement"].([]any) {
			may[s.(map[string]any)["Sid"].(string)] = texts(s.(map[string]any)["Action"])
		}
	}
	module := read(t, at("deploy/ecs/terraform/main.tf"))
	for _, file := range []string{"config-from-ssm.json", "logs.json", "pull-from-ecr.json"} {
		var document struct {
			Statement []struct {
				Sid    string
				Action any
			}
		}
		if err := json.Unmarshal([]byte(read(t, at("deploy/iam/"+file))), &document); err != nil {
			t.Fatal(err)
		}
		for _, s := range document.Statement {
			actions := texts(s.Action)
			if !slices.Equal(may[s.Sid], actions) {
				t.Errorf("cloudformation.yaml: %s allows %v, want %v", s.Sid, may[s.Sid], actions)
			}
			quoted := regexp.QuoteMeta(`"` + strings.Join(actions, `", "`) + `"`)
			if !regexp.MustCompile(`sid += "` + s.Sid + `"\n +actions += \[` + quoted + `\]\n`).MatchString(module) {
				t.Errorf("terraform/main.tf: %s does not allow %v", s.Sid, actions)
			}
		}
	}
}

// cased checks the case of keys against the names of a type's fields.
func cased(t testing.TB, where string, v any, typ reflect.Type, key func(field string) string) {
	t.Helper()
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			cased(t, where, e, typ, key)
		}
	case map[string]any:
		if typ.Kind() != reflect.Struct {
			return
		}
		fields := map[string]reflect.Type{}
		for f := range typ.Fields() {
			fields[key(f.Name)] = f.Type
		}
		for k, below := range v {
			if fields[k] == nil {
				t.Errorf("%s: there is no %s", where, k)
				continue
			}
			cased(t, where+"."+k, below, fields[k], key)
		}
	}
}

// asIs is how CloudFormation writes the names of fields.
func asIs(field string) string { return field }

// refers checks that each name that is referred to exists, and each parameter
// is used.
func refers(t testing.TB, template map[string]any) {
	t.Helper()
	names := map[string]bool{}
	for _, section := range []string{"Parameters", "Resources"} {
		for k := range template[section].(map[string]any) {
			names[k] = true
		}
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{([A-Za-z:]+)(\.\w+)?\}`).FindAllStringSubmatch(fmt.Sprint(template), -1) {
		if !names[m[1]] && !strings.HasPrefix(m[1], "AWS::") {
			t.Errorf("there is no %s", m[1])
		}
		used[m[1]] = true
	}
	for k := range template["Parameters"].(map[string]any) {
		if !used[k] {
			t.Errorf("nothing uses the parameter %s", k)
		}
	}
}

// AWS's own linter knows every resource.
func TestCloudFormationLint(t *testing.T) {
	t.Parallel()
	tool(t, "cfn-lint")
	must(t, root, "cfn-lint", "deploy/ecs/cloudformation.yaml", "deploy/cloudwatch/cloudformation.yaml")
}

package artifacts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// The module is formatted and every name in it exists. What the provider thinks
// of it needs a registry: SKIP.
func TestTerraform(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(at("deploy/ecs/terraform/*.tf"))
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	t.Log("SKIP: terraform validate needs the AWS provider from its registry: syntax, format and references are checked")
	parser := hclparse.NewParser()
	names, used := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		text := read(t, f)
		formatted := string(hclwrite.Format([]byte(text)))
		if *update {
			write(t, f, formatted)
		} else if text != formatted {
			t.Errorf("%s is not formatted: run .ci/artifacts/run -update", f)
		}
		parsed, problems := parser.ParseHCLFile(f)
		if problems.HasErrors() {
			t.Fatal(problems)
		}
		body := parsed.Body.(*hclsyntax.Body)
		for _, b := range body.Blocks {
			defines(names, b)
		}
		hclsyntax.VisitAll(body, func(n hclsyntax.Node) hcl.Diagnostics {
			if e, ok := n.(*hclsyntax.ScopeTraversalExpr); ok {
				used[address(e.Traversal)] = true
			}
			return nil
		})
	}
	for name := range used {
		if !names[name] {
			t.Errorf("there is no %s", name)
		}
	}
	for name := range names {
		if strings.HasPrefix(name, "var.") && !used[name] {
			t.Errorf("nothing uses %s", name)
		}
	}
	for name := range names {
		if strings.HasPrefix(name, "aws_iam_role_policy.") && !used[name] {
			t.Errorf("the service does not wait for %s", name)
		}
	}
	if _, err := os.Stat(at("deploy/ecs/terraform/../task-definition.json")); err != nil {
		t.Error(err)
	}
}

// defines notes what a block defines, by its address.
func defines(names map[string]bool, b *hclsyntax.Block) {
	for _, always := range []string{"path.module", "each.key", "each.value", "statement.value", "string", "number", "zone", "service.name"} {
		names[always] = true
	}
	switch b.Type {
	case "variable":
		names["var."+b.Labels[0]] = true
	case "resource":
		names[strings.Join(b.Labels, ".")] = true
	case "data":
		names["data."+strings.Join(b.Labels, ".")] = true
	case "locals":
		for name := range b.Body.Attributes {
			names["local."+name] = true
		}
	}
}

// address is the part of a reference that names what it refers to.
func address(t hcl.Traversal) string {
	parts := []string{t.RootName()}
	for _, step := range t[1:] {
		attribute, ok := step.(hcl.TraverseAttr)
		if !ok || len(parts) == 2 && parts[0] != "data" || len(parts) == 3 {
			break
		}
		parts = append(parts, attribute.Name)
	}
	return strings.Join(parts, ".")
}

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"vpcprobe/agent/metrics"
	"vpcprobe/config"
	"vpcprobe/probes/all"
)

var update = flag.Bool("update", false, "write the generated reference documents anew")

// The reference documents are generated from the declarations; this test fails
// when they are stale. `go test . -run TestReference -update` writes them anew.
func TestReference(t *testing.T) {
	for name, text := range map[string]string{
		"findings.md":      findingsReference(),
		"metrics.md":       metrics.Reference(all.Kinds),
		"configuration.md": config.Reference(),
		"cli.md":           cliReference(),
		"coverage.md":      coverageReference(),
	} {
		path := filepath.Join("docs", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if string(got) != text {
			t.Errorf("%s is stale: run `go test . -run TestReference -update`", path)
		}
	}
}

// findingsReference renders the rules.
func findingsReference() string {
	var b strings.Builder
	b.WriteString(generated + `# Findings

Each finding names a root cause. A certainty goes with it: *certain* (nothing else known produces this evidence), *likely*
(the evidence points here, though others cannot be ruled out) or *possible* (one of several causes that the evidence leaves open;
they are all listed). ` + "`vpcprobe explain ID`" + ` prints the same text.

| finding | layer | severity | what is wrong |
|---|---|---|---|
`)
	for _, k := range all.Kinds {
		for _, r := range k.Rules {
			fmt.Fprintf(&b, "| [%s](#%[1]s) | %s | %s | %s |\n", r.ID, k.Name, r.Severity, r.Title)
		}
	}
	for _, r := range rules() {
		fmt.Fprintf(&b, "\n## %s\n\n**%s** (%s)\n\n%s\n\n*Fix.* %s\n\n*Source.* %s\n", r.ID, r.Title, r.Severity, r.Means, r.Fix, r.Source)
	}
	return b.String()
}

const generated = "<!-- Generated from the declarations in the code. Do not edit. -->\n\n"

// cliReference renders the commands' help.
func cliReference() string {
	var b strings.Builder
	b.WriteString(generated + "# Command line\n\n" + about + "\n\n```\n" + exitCodes + "\n```\n")
	var each func(*cobra.Command)
	each = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			if !sub.IsAvailableCommand() || sub.Name() == "completion" || sub.Name() == "help" {
				continue
			}
			if sub.Runnable() && !sub.HasSubCommands() {
				sub.InitDefaultHelpFlag()
				fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n```\n%s```\n", sub.CommandPath(), sub.Short, sub.UsageString())
			}
			each(sub)
		}
	}
	each(newRoot())
	return b.String()
}

// Every identifier of a finding is stable and well formed, and every rule says
// all that a rule must say.
func TestRulesAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules() {
		if seen[r.ID] {
			t.Errorf("%s is declared twice", r.ID)
		}
		seen[r.ID] = true
		for what, text := range map[string]string{"title": r.Title, "means": r.Means, "fix": r.Fix, "source": r.Source} {
			if strings.TrimSpace(text) == "" {
				t.Errorf("%s has no %s", r.ID, what)
			}
		}
		if strings.HasSuffix(r.Title, ".") {
			t.Errorf("%s: a title ends without a full stop: %q", r.ID, r.Title)
		}
		if r.Match == nil {
			t.Errorf("%s matches nothing", r.ID)
		}
	}
}

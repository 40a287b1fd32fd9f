package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"vpcprobe/agent"
	"vpcprobe/agent/report"
	"vpcprobe/config"
	"vpcprobe/probes"
	"vpcprobe/probes/all"
	"vpcprobe/probes/followup"
	"vpcprobe/probes/invoke"
)

func newExplain() *cobra.Command {
	var output, response string
	cmd := &cobra.Command{
		Use:   "explain [FINDING]",
		Short: "Explain a finding, or a response that somebody saved",
		Long: `Explain prints what a finding means, how to fix it, and which document says so.
Without a finding it lists them all. With --response it reads the output of
curl -i or curl -v, or a HAR file, and names the causes; it asks nothing of the
network, and tokens and keys in the file are not printed.`,
		Example: `  vpcprobe explain private-dns-off
  curl -sv https://... 2>&1 | vpcprobe explain --response -`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return findingIDs(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return unknownOutput(output, "text", "json")
			}
			w := cmd.OutOrStdout()
			switch {
			case response != "" && len(args) > 0:
				return exit{exitUsage, fmt.Errorf("give a finding or --response, not both")}
			case response != "":
				return explainResponse(w, cmd.InOrStdin(), response, output)
			case len(args) == 0:
				return listRules(w, output)
			}
			return explainRule(w, args[0], output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "output format: text or json")
	cmd.Flags().StringVar(&response, "response", "", "a saved response: `FILE`, or - for standard input")
	return cmd
}

// rules are all the rules there are, lowest layer first.
func rules() []*probes.Rule { return agent.Rules(all.Kinds) }

func findingIDs() []string {
	var ids []string
	for _, r := range rules() {
		ids = append(ids, r.ID)
	}
	return ids
}

// A ruleJSON is the machine's form of a rule.
type ruleJSON struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Means    string `json:"means"`
	Fix      string `json:"fix"`
	Source   string `json:"source"`
}

func toJSON(r *probes.Rule) ruleJSON {
	return ruleJSON{r.ID, r.Severity.String(), r.Title, r.Means, r.Fix, r.Source}
}

func listRules(w io.Writer, output string) error {
	if output == "json" {
		list := struct {
			SchemaVersion int        `json:"schema_version"`
			Findings      []ruleJSON `json:"findings"`
		}{SchemaVersion: 1}
		for _, r := range rules() {
			list.Findings = append(list.Findings, toJSON(r))
		}
		return writeJSON(w, list)
	}
	width := 0
	for _, id := range findingIDs() {
		width = max(width, len(id))
	}
	for _, k := range all.Kinds {
		if len(k.Rules) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s: %s\n", k.Name, k.Doc)
		for _, r := range k.Rules {
			fmt.Fprintf(w, "  %-*s  %-7s  %s\n", width, r.ID, r.Severity, r.Title)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "vpcprobe explain FINDING shows one of them in full.")
	return nil
}

func explainRule(w io.Writer, id, output string) error {
	i := slices.IndexFunc(rules(), func(r *probes.Rule) bool { return r.ID == id })
	if i < 0 {
		return exit{exitUsage, fmt.Errorf("no finding is called %q%s", id, config.Suggest(id, findingIDs()))}
	}
	r := rules()[i]
	if output == "json" {
		return writeJSON(w, struct {
			SchemaVersion int `json:"schema_version"`
			ruleJSON
		}{1, toJSON(r)})
	}
	return report.Explain(w, r, style(w))
}

// explainResponse names the causes of a saved response.
func explainResponse(w io.Writer, in io.Reader, path, output string) error {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return exit{exitUsage, err}
		}
		defer f.Close()
		in = f
	}
	answers, err := invoke.ParseSaved(in)
	if err != nil {
		return exit{exitUsage, fmt.Errorf("%s: %w", cmp.Or(path, "-"), err)}
	}
	findings := followup.Explain(answers)
	if output == "json" {
		err = writeJSON(w, agent.FindingsDocument(findings))
	} else {
		err = report.Saved(w, answers, findings, style(w))
	}
	if err != nil {
		return err
	}
	for _, f := range findings {
		if f.Rule.Severity == probes.Error {
			return exit{code: exitError}
		}
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeLine writes v as one line of JSON.
func writeLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

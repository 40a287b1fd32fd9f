package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"vpcprobe/probes/identify"
)

func newCert() *cobra.Command {
	var files identify.Files
	var at, output string
	cmd := &cobra.Command{
		Use:   "cert",
		Short: "Judge a client certificate, its key and a truststore as API Gateway would",
		Long: `Cert reads files and judges them by the documented rules of API Gateway's mutual
TLS: what openssl verify, x509, rsa -modulus and diff are used for by hand, and
what they do not know. It says what API Gateway would log.

Exit codes: 0 accepted, 3 refused, 2 a file cannot be read.`,
		Example: "  vpcprobe cert --certificate client.pem --key client.key --truststore bundle.pem",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return unknownOutput(output, "text", "json")
			}
			when, err := moment(at)
			if err != nil {
				return exit{exitUsage, err}
			}
			judged, err := identify.Judge(files, when)
			if err != nil {
				return exit{exitUsage, err}
			}
			if output == "json" {
				err = writeJSON(cmd.OutOrStdout(), struct {
					SchemaVersion int `json:"schema_version"`
					*identify.Report
				}{1, judged})
			} else {
				err = printJudgment(cmd.OutOrStdout(), judged)
			}
			if err == nil && !judged.Accepted {
				err = exit{code: exitError}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&files.Certificate, "certificate", "", "PEM `FILE` with the client certificate")
	f.StringVar(&files.Key, "key", "", "PEM `FILE` with its private key")
	f.StringVar(&files.Truststore, "truststore", "", "PEM `FILE` with the domain's truststore bundle")
	f.StringVar(&files.Chain, "chain", "", "PEM `FILE` with intermediates that the client would send")
	f.StringVar(&at, "at", "", "judge as of this `TIME` (2026-12-31 or 2026-12-31T12:00:00Z) instead of now")
	f.StringVarP(&output, "output", "o", "text", "output format: text or json")
	cmd.MarkFlagRequired("certificate")
	return cmd
}

// moment reads a date or a time; none is now.
func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Now(), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--at %q: write a date such as 2026-12-31 or a time such as 2026-12-31T12:00:00Z", text)
}

// printJudgment prints the verdict, why, and the certificates it rests on.
func printJudgment(w io.Writer, r *identify.Report) error {
	verdict := "ACCEPTED: API Gateway would accept this client by its documented rules"
	switch {
	case !r.Accepted:
		verdict = "REFUSED: API Gateway would refuse this client"
	case !r.Complete():
		verdict = "NOTHING AGAINST IT: without a truststore to judge by, that is all there is to say"
	}
	fmt.Fprintln(w, verdict)
	if r.Reason != "" {
		fmt.Fprintf(w, "It would log: %s\n", r.Reason)
	}
	for _, p := range r.Problems {
		kind := "error  "
		if !p.Refuses {
			kind = "warning"
		}
		fmt.Fprintf(w, "\n%s  %s: %s\n", kind, p.Finding, p.Text)
		if p.Rule != "" {
			fmt.Fprintf(w, "         openssl verify may accept it; the rule is: %s\n", p.Rule)
		}
		fmt.Fprintf(w, "         vpcprobe explain %s\n", p.Finding)
	}
	if len(r.Path) > 0 {
		fmt.Fprintf(w, "\nChain: %s\n", strings.Join(r.Path, " <- "))
	}
	if r.KeyMatches != nil {
		fmt.Fprintf(w, "Key belongs to the certificate: %v\n", *r.KeyMatches)
	}
	printCertificates(w, "Client certificate file", r.Client)
	printCertificates(w, "Truststore", r.Truststore)
	for _, n := range r.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", n)
	}
	return nil
}

// printCertificates lists the certificates of one file.
func printCertificates(w io.Writer, title string, certificates []identify.Judged) {
	if len(certificates) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "  #\tSUBJECT\tISSUER\tNOT AFTER\tKEY\tSIGNATURE\tSHA-256")
	for _, c := range certificates {
		fmt.Fprintf(t, "  %d\t%s\t%s\t%s\t%s\t%s\t%.16s\n", c.Index+1, c.Subject, c.Issuer,
			c.NotAfter.Format(time.DateOnly), c.Key, c.Signature, c.Fingerprint)
		if c.Problem != "" {
			fmt.Fprintf(t, "  \t! %s\n", c.Problem)
		}
	}
	t.Flush()
}

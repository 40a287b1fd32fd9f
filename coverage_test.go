package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"vpcprobe/lab"
)

// A cause is one row or one cause of the AWS Knowledge Center articles, and
// what answers it here.
type cause struct {
	article string // K0: 403 errors; K1: mutual TLS; K2, K3: private API endpoints
	row     int    // in the table of K0, from 1; 0 for causes in an article's text
	says    string // the cause, in our words
	finding string
	proof   string // the scenario of the lab in which exactly this is wrong
}

// causes are the 17 rows of K0's table, in its order, and the causes that the
// texts of K0 to K3 add.
var causes = []cause{
	{"K0", 1, "Lambda authorizer: explicit deny", "authorizer-denies", "authorizer-denies"},
	{"K0", 2, "IAM authorization or resource policy: explicit deny", "resource-policy-denies", "resource-policy-denies"},
	{"K0", 3, "anonymous caller, not allowed by the resource policy", "resource-policy-silent", "resource-policy-silent"},
	{"K0", 4, "the security token included in the request is invalid", "access-key-invalid", "access-key-invalid"},
	{"K0", 5, "missing authentication token", "request-unsigned", "request-unsigned"},
	{"K0", 6, "the signature has expired", "clock-behind", "clock-behind"},
	{"K0", 7, "invalid API key", "api-key-rejected", "api-key-rejected"},
	{"K0", 8, "the signature does not match", "signature-mismatch", "signature-mismatch"},
	{"K0", 9, "filtered by AWS WAF", "waf-blocked", "waf-blocked-content"},
	{"K0", 10, "the resource path does not exist, called without Authorization", "path-not-found", "path-not-found-unsigned"},
	{"K0", 11, "the resource path does not exist, called with Authorization", "authorization-malformed", "authorization-malformed"},
	{"K0", 12, "private API called by its public DNS name without Host or x-apigw-api-id", "host-not-recognized", "host-not-recognized"},
	{"K0", 13, "the default endpoint is disabled", "default-endpoint-disabled", "default-endpoint-disabled"},
	{"K0", 14, "the client certificate is invalid or not issued by the truststore", "client-cert-untrusted", "client-cert-untrusted"},
	{"K0", 15, "custom domain without a base path mapping", "base-path-unmapped", "base-path-unmapped"},
	{"K0", 16, "the stage is in the URL of a custom domain", "stage-in-path", "stage-in-path"},
	{"K0", 17, "the stage in the URL does not exist", "stage-not-found", "stage-not-found"},

	{"K0", 0, "a proxy answers with 403", "proxy-in-the-way", "proxy-in-the-way"},
	{"K0", 0, "another service in front of the API answers", "not-api-gateway", "not-api-gateway-balancer"},
	{"K0", 0, "the API was not deployed with its latest definition", "not-redeployed", "not-redeployed"},
	{"K0", 0, "private DNS captures a Regional API's name", "public-api-captured", "public-api-captured"},
	{"K0", 0, "private DNS is off, and the private name is used", "private-dns-off", "private-dns-off"},

	{"K1", 0, "could not find issuer for certificate", "client-cert-untrusted", "client-cert-untrusted"},
	{"K1", 0, "an intermediate is missing from the truststore", "truststore-chain-incomplete", "truststore-chain-incomplete"},
	{"K1", 0, "there is an invalid certificate in the truststore bundle", "truststore-invalid-cert", "truststore-invalid-cert"},
	{"K1", 0, "the client certificate uses an insecure signature algorithm", "client-cert-weak", "client-cert-weak-signature"},
	{"K1", 0, "a certificate of the truststore uses an insecure algorithm", "truststore-weak-cert", "truststore-weak-cert"},
	{"K1", 0, "self signed certificate", "client-cert-self-signed", "client-cert-self-signed"},
	{"K1", 0, "the self-signed certificate was altered or corrupted", "client-cert-altered", "client-cert-altered"},
	{"K1", 0, "the moduli of key and certificate differ", "client-cert-key-mismatch", "client-cert-key-mismatch"},

	{"K2, K3", 0, "the resource policy does not allow the endpoint", "resource-policy-silent", "resource-policy-silent"},
	{"K2, K3", 0, "the endpoint policy does not allow the API", "endpoint-policy-silent", "endpoint-policy-silent"},
	{"K2, K3", 0, "connection timed out: there is no endpoint", "endpoint-not-found", "endpoint-not-found"},
	{"K2, K3", 0, "connection timed out: the endpoint is in another region", "region-mismatch", "region-mismatch"},
	{"K2, K3", 0, "connection timed out: security group", "traffic-dropped", "traffic-dropped"},
	{"K2, K3", 0, "connection timed out: one subnet's path", "subnet-dropped", "subnet-dropped"},
	{"K2, K3", 0, "the names lead to different addresses", "names-disagree", "names-disagree"},
	{"K2, K3", 0, "the name leads to addresses that are not the endpoint's", "wrong-addresses", "wrong-addresses"},
	{"K2, K3", 0, "private DNS is not activated", "private-dns-off", "private-dns-off"},
	{"K2, K3", 0, "the invoke URL's format is wrong", "host-not-recognized", "host-not-recognized"},
}

// Every cause of the articles has a finding, and a scenario in which it is
// what is wrong. That the scenario gives the finding is what TestScenarios says.
func TestArticlesAreCovered(t *testing.T) {
	rows := 0
	for _, c := range causes {
		if c.article == "K0" && c.row > 0 {
			rows++
			if c.row != rows {
				t.Errorf("row %d of K0 stands at place %d", c.row, rows)
			}
		}
		if !slices.Contains(findingIDs(), c.finding) {
			t.Errorf("%s %q: there is no finding %s", c.article, c.says, c.finding)
		}
		i := slices.IndexFunc(lab.Scenarios(), func(s lab.Scenario) bool { return s.ID == c.proof })
		if i < 0 {
			t.Errorf("%s %q: there is no scenario %s", c.article, c.says, c.proof)
		} else if !slices.Contains(lab.Scenarios()[i].Want, c.finding) {
			t.Errorf("%s %q: scenario %s does not lead to %s", c.article, c.says, c.proof, c.finding)
		}
	}
	if rows != 17 {
		t.Errorf("%d rows of K0 are covered, not 17", rows)
	}
}

// coverageReference renders docs/coverage.md.
func coverageReference() string {
	var b strings.Builder
	b.WriteString(generated + `# The causes of the AWS Knowledge Center articles

K0 is *How do I troubleshoot HTTP 403 errors from API Gateway?*, K1 *... from an API Gateway custom domain name that requires mutual TLS?*, K2 and
K3 are *How do I troubleshoot issues when connecting to an API Gateway private API endpoint?* Each cause has a finding, and a scenario of the lab
in which exactly that is wrong (` + "`vpcprobe lab --once --all`" + ` tries them all).

| article | row | cause | finding | proof |
|---|---|---|---|---|
`)
	for _, c := range causes {
		row := ""
		if c.row > 0 {
			row = fmt.Sprint(c.row)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | [%s](findings.md#%[4]s) | %s |\n", c.article, row, c.says, c.finding, c.proof)
	}
	return b.String()
}

package followup

import (
	"slices"
	"strings"

	"vpcprobe/probes"
	"vpcprobe/probes/invoke"
)

// means is the Match of a rule: the blamed answers of whose causes the finding
// is left, with the follow-ups that decided.
func means(finding string) func(probes.Evidence) (probes.Certainty, []probes.Observation) {
	return func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		surest := probes.No
		var because, asked []probes.Observation
		for _, o := range invoke.Blamed(seen) {
			a := invoke.Of(o)
			if a == nil || !slices.Contains(a.Causes, finding) {
				continue
			}
			v := judge(seen, o)
			if !slices.Contains(v.causes, finding) {
				continue
			}
			surest = max(surest, v.sure[finding])
			because = append(because, o)
			asked = append(asked, v.asked...)
		}
		return surest, append(because, once(asked)...)
	}
}

// once leaves out what is there already.
func once(obs []probes.Observation) []probes.Observation {
	var all []probes.Observation
	for _, o := range obs {
		if !slices.ContainsFunc(all, func(p probes.Observation) bool { return p.Detail == o.Detail }) {
			all = append(all, o)
		}
	}
	return all
}

// open says what follow-ups concluded and which causes the evidence leaves
// open together.
func open(seen probes.Evidence, because []probes.Observation) []string {
	var notes []string
	add := func(text string) {
		if !slices.Contains(notes, text) {
			notes = append(notes, text)
		}
	}
	for _, o := range because {
		a := invoke.Of(o)
		if a == nil {
			continue
		}
		v := judge(seen, o)
		for _, why := range v.why {
			add(why)
		}
		if len(v.causes) > 1 {
			add("the evidence leaves open: " + strings.Join(v.causes, ", ") + "; " + settle(v.causes))
		}
	}
	return notes
}

// settle says what would tell the causes apart that the wire cannot.
func settle(causes []string) string {
	var ways []string
	for _, s := range settlers {
		if slices.ContainsFunc(causes, func(c string) bool { return slices.Contains(s.causes, c) }) {
			ways = append(ways, s.how)
		}
	}
	return "settled by: " + strings.Join(ways, "; ")
}

// settlers are the looks at the console, each with the permission it needs.
var settlers = []struct {
	causes []string
	how    string
}{
	{[]string{"default-endpoint-disabled", "public-api-captured", "api-not-found", "host-not-recognized", "strict-endpoint-access"}, "aws apigateway get-rest-api (apigateway:GET on /restapis/API)"},
	{[]string{"stage-not-found", "waf-blocked"}, "aws apigateway get-stage (apigateway:GET on /restapis/API/stages/STAGE; its webAclArn tells whether a firewall is there)"},
	{[]string{"api-key-rejected"}, "aws apigateway get-usage-plans --key-id ID (apigateway:GET on /usageplans)"},
	{[]string{"path-not-found", "method-not-found", "not-redeployed", "request-unsigned", "authorization-malformed"}, "aws apigateway get-export --export-type oas30 of the stage, which shows what is deployed (apigateway:GET on /restapis/API/stages/STAGE/exports/oas30)"},
	{[]string{"base-path-unmapped"}, "aws apigateway get-base-path-mappings (apigateway:GET on /domainnames/DOMAIN/basepathmappings)"},
	{[]string{"client-cert-distrusted"}, "aws apigateway get-domain-name (apigateway:GET on /domainnames/DOMAIN), and vpcprobe cert with the truststore that it names"},
	{[]string{"domain-not-associated"}, "aws apigateway get-domain-name-access-associations (apigateway:GET on /domainnameaccessassociations)"},
	{[]string{"resource-policy-silent", "resource-policy-denies", "caller-anonymous"}, "aws apigateway get-rest-api --query policy (apigateway:GET on /restapis/API)"},
	{[]string{"endpoint-policy-silent", "endpoint-policy-denies"}, "aws ec2 describe-vpc-endpoints --query 'VpcEndpoints[].PolicyDocument' (ec2:DescribeVpcEndpoints)"},
	{[]string{"proxy-in-the-way"}, "the issuer of the server's certificate, which is a proxy's own authority where one ends TLS (openssl s_client -connect ADDRESS:443 -servername NAME </dev/null | openssl x509 -noout -issuer)"},
	{[]string{"identity-policy-silent", "identity-policy-denies", "organization-policy-denies"}, "aws iam simulate-principal-policy (iam:SimulatePrincipalPolicy)"},
}

// accessLog says how to make API Gateway log what it knew of the client.
func accessLog(probes.Evidence, []probes.Observation) []string {
	return []string{
		"access log format that shows the client certificate: " + invoke.AccessLogFormat,
		"if logging is on and nothing is logged for the request, the 403 has nothing to do with mutual TLS",
	}
}

func notes(say ...func(probes.Evidence, []probes.Observation) []string) func(probes.Evidence, []probes.Observation) []string {
	return func(seen probes.Evidence, because []probes.Observation) []string {
		answers := probes.Filter(because, func(o probes.Observation) bool { return Of(o) == nil })
		var all []string
		for _, s := range slices.Concat(first, say, last) {
			all = append(all, s(seen, answers)...)
		}
		return all
	}
}

// What all rules say before and after their own notes.
var (
	first = []func(probes.Evidence, []probes.Observation) []string{invoke.Only, open}
	last  = []func(probes.Evidence, []probes.Observation) []string{invoke.Logs}
)

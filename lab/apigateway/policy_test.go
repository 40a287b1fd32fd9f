package apigateway

import (
	"encoding/json"
	"path"
	"strings"
	"testing"
)

const (
	apiARN = "arn:aws:execute-api:eu-west-1:111122223333:a1b2c3d4e5"
	getX   = apiARN + "/prod/GET/x"
)

func caller() *Principal {
	return &Principal{ARN: "arn:aws:sts::111122223333:assumed-role/prober/i-1", Organization: "o-1"}
}

func question(who *Principal, keys map[string]string) ask {
	q := ask{caller: who, action: invoke, resource: getX, base: apiARN, keys: map[string][]string{}}
	for key, value := range keys {
		q.keys[key] = []string{value}
	}
	return q
}

func mustParse(t testing.TB, document string, attached side) *policy {
	t.Helper()
	p, err := parsePolicy(document, attached)
	if err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return p
}

func TestPrincipals(t *testing.T) {
	t.Parallel()
	user := &Principal{ARN: "arn:aws:iam::111122223333:user/a"}
	pathed := &Principal{ARN: "arn:aws:sts::111122223333:assumed-role/prober/i-1", RoleARN: "arn:aws:iam::111122223333:role/team/prober"}
	for _, tt := range []struct {
		principal string // with its key
		caller    *Principal
		want      ruling
	}{
		{`"Principal":"*"`, nil, allows},
		{`"Principal":"*"`, caller(), allows},
		{`"Principal":{"AWS":"*"}`, nil, allows},
		{`"Principal":{"AWS":["arn:aws:iam::999988887777:root","*"]}`, caller(), allows},
		{`"Principal":{"AWS":"111122223333"}`, nil, silent},
		{`"Principal":{"AWS":"111122223333"}`, caller(), entrusts},
		{`"Principal":{"AWS":"arn:aws:iam::111122223333:root"}`, caller(), entrusts},
		{`"Principal":{"AWS":["111122223333","arn:aws:iam::111122223333:role/prober"]}`, caller(), allows},
		{`"Principal":{"AWS":"999988887777"}`, caller(), silent},
		{`"Principal":{"AWS":"arn:aws:iam::111122223333:role/prober"}`, caller(), allows},
		{`"Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/prober/i-1"}`, caller(), allows},
		{`"Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/prober/i-2"}`, caller(), silent},
		{`"Principal":{"AWS":"arn:aws:iam::111122223333:role/prob*"}`, caller(), silent},
		{`"Principal":{"AWS":"arn:aws:iam::111122223333:role/prober"}`, pathed, silent},
		{`"Principal":{"AWS":"arn:aws:iam::111122223333:role/team/prober"}`, pathed, allows},
		{`"Principal":{"AWS":"arn:aws:iam::111122223333:user/a"}`, user, allows},
		{`"Principal":{"Service":"apigateway.amazonaws.com"}`, caller(), silent},
		{`"Principal":{"Federated":"cognito-identity.amazonaws.com"}`, caller(), silent},
		{`"NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/prober"}`, caller(), silent},
		{`"NotPrincipal":{"AWS":"111122223333"}`, caller(), silent},
		{`"NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/prober"}`, user, allows},
		{`"NotPrincipal":{"AWS":"arn:aws:iam::111122223333:role/prober"}`, nil, allows},
	} {
		p := mustParse(t, `{"Statement":{"Effect":"Allow",`+tt.principal+`,"Action":"*","Resource":"*"}}`, ofResource)
		if got := p.rule(question(tt.caller, nil)); got != tt.want {
			t.Errorf("%s, %+v: got %d, want %d", tt.principal, tt.caller, got, tt.want)
		}
	}
}

func TestActionsAndResources(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		elements string
		want     ruling
	}{
		{`"Action":"execute-api:Invoke","Resource":"*"`, allows},
		{`"Action":["execute-api:ManageConnections","execute-api:*"],"Resource":"*"`, allows},
		{`"Action":"EXECUTE-API:invoke","Resource":"*"`, allows},
		{`"Action":"execute-api:Inv?ke","Resource":"*"`, allows},
		{`"Action":"execute-api:Invok","Resource":"*"`, silent},
		{`"NotAction":"execute-api:ManageConnections","Resource":"*"`, allows},
		{`"NotAction":"execute-api:*","Resource":"*"`, silent},
		{`"Action":"*","Resource":"execute-api:/*"`, allows},
		{`"Action":"*","Resource":"execute-api:/prod/GET/x"`, allows},
		{`"Action":"*","Resource":"execute-api:/prod/GET/X"`, silent},
		{`"Action":"*","Resource":"execute-api:/prod/POST/*"`, silent},
		{`"Action":"*","Resource":["execute-api:/dev/*","execute-api:/*/GET/*"]`, allows},
		{`"Action":"*","Resource":"` + getX + `"`, allows},
		{`"Action":"*","Resource":"arn:aws:execute-api:*:*:a1b2c3d4e5/*"`, allows},
		{`"Action":"*","Resource":"arn:aws:execute-api:*:*:other/*"`, silent},
		{`"Action":"*","NotResource":"execute-api:/prod/GET/x"`, silent},
		{`"Action":"*","NotResource":"execute-api:/prod/GET/y"`, allows},
	} {
		p := mustParse(t, `{"Statement":[{"Effect":"Allow","Principal":"*",`+tt.elements+`}]}`, ofResource)
		if got := p.rule(question(nil, nil)); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.elements, got, tt.want)
		}
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	here := map[string]string{
		"aws:sourcevpce": "vpce-1", "aws:sourcevpc": "vpc-1", "aws:vpcsourceip": "10.0.1.77",
		"aws:principalarn": "arn:aws:iam::111122223333:role/prober", "aws:principalaccount": "111122223333", "aws:principalorgid": "o-1",
		"execute-api:viadomainarn": "arn:aws:execute-api:eu-west-1:111122223333:/domainnames/a.example+d1", "aws:securetransport": "true",
	}
	for condition, want := range map[string]bool{
		`"StringEquals":{"aws:SourceVpce":"vpce-1"}`:                                                   true,
		`"StringEquals":{"AWS:sourceVPCE":["vpce-0","vpce-1"]}`:                                        true,
		`"StringEquals":{"aws:SourceVpce":"VPCE-1"}`:                                                   false,
		`"StringEqualsIgnoreCase":{"aws:SourceVpce":"VPCE-1"}`:                                         true,
		`"StringEquals":{"aws:SourceVpce":"vpce-*"}`:                                                   false,
		`"StringLike":{"aws:SourceVpce":"vpce-*"}`:                                                     true,
		`"StringNotLike":{"aws:SourceVpce":"vpce-*"}`:                                                  false,
		`"StringNotEquals":{"aws:SourceVpce":"vpce-0"}`:                                                true,
		`"StringNotEquals":{"aws:SourceVpce":["vpce-0","vpce-1"]}`:                                     false,
		`"StringNotEqualsIgnoreCase":{"aws:SourceVpc":"VPC-1"}`:                                        false,
		`"StringEquals":{"aws:SourceVpce":"vpce-1","aws:SourceVpc":"vpc-2"}`:                           false,
		`"StringEquals":{"aws:SourceVpce":"vpce-1"},"StringNotEquals":{"aws:SourceVpc":"vpc-1"}`:       false,
		`"StringEquals":{"aws:PrincipalOrgID":"o-1","aws:PrincipalAccount":"111122223333"}`:            true,
		`"IpAddress":{"aws:VpcSourceIp":["10.0.1.0/24"]}`:                                              true,
		`"IpAddress":{"aws:VpcSourceIp":"10.0.1.77"}`:                                                  true,
		`"IpAddress":{"aws:VpcSourceIp":"10.0.1.76"}`:                                                  false,
		`"NotIpAddress":{"aws:VpcSourceIp":"10.0.0.0/16"}`:                                             false,
		`"NotIpAddress":{"aws:VpcSourceIp":"10.1.0.0/16"}`:                                             true,
		`"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}`:                                                     false, // absent through an endpoint
		`"NotIpAddress":{"aws:SourceIp":"0.0.0.0/0"}`:                                                  true,
		`"IpAddressIfExists":{"aws:SourceIp":"192.0.2.0/24"}`:                                          true,
		`"IpAddressIfExists":{"aws:VpcSourceIp":"192.0.2.0/24"}`:                                       false,
		`"StringEqualsIfExists":{"aws:SourceVpce":"vpce-1"}`:                                           true,
		`"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/pro*"}`:                                    true,
		`"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/*"}`:                          true,
		`"ArnLike":{"aws:PrincipalArn":"arn:*role/prober"}`:                                            false, // parts are matched one by one
		`"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/other"}`:                                true,
		`"ArnEquals":{"execute-api:viaDomainArn":"arn:aws:execute-api:*:*:/domainnames/a.example+d1"}`: true,
		`"ArnLike":{"execute-api:viaDomainArn":"arn:aws:execute-api:*:*:/domainnames/b.example*"}`:     false,
		`"Bool":{"aws:SecureTransport":true}`:                                                          true,
		`"Bool":{"aws:SecureTransport":"false"}`:                                                       false,
		`"Null":{"aws:SourceVpce":"false"}`:                                                            true,
		`"Null":{"aws:SourceVpce":true}`:                                                               false,
		`"Null":{"aws:SourceIp":"true"}`:                                                               true,
		`"ForAnyValue:StringEquals":{"aws:SourceVpce":["vpce-1","vpce-9"]}`:                            true,
		`"ForAnyValue:StringEquals":{"aws:SourceIp":"x"}`:                                              false,
		`"ForAllValues:StringEquals":{"aws:SourceIp":"x"}`:                                             true,
		`"ForAllValues:StringLike":{"aws:SourceVpce":"vpc-*"}`:                                         false,
	} {
		p := mustParse(t, policyOf("Allow", `"*"`, `,"Condition":{`+condition+`}`), ofResource)
		if got := p.rule(question(nil, here)) == allows; got != want {
			t.Errorf("%s: got %v, want %v", condition, got, want)
		}
	}
}

func TestDenyWins(t *testing.T) {
	t.Parallel()
	allow := `{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`
	deny := `{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}`
	account := `{"Effect":"Deny","Principal":{"AWS":"111122223333"},"Action":"*","Resource":"*"}`
	entrust := `{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"*","Resource":"*"}`
	for statements, want := range map[string]ruling{
		allow: allows, deny: denies, allow + "," + deny: denies, deny + "," + allow: denies, "": silent,
		entrust: entrusts, entrust + "," + allow: allows, allow + "," + entrust: allows,
		allow + "," + account: denies, // a denial of the account is one of everybody in it
	} {
		p := mustParse(t, `{"Statement":[`+statements+`]}`, ofResource)
		if got := p.rule(question(caller(), nil)); got != want {
			t.Errorf("%s: got %d, want %d", statements, got, want)
		}
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	t.Parallel()
	condition := func(c string) string { return policyOf("Allow", `"*"`, `,"Condition":{`+c+`}`) }
	for document, want := range map[string]string{
		`{`:                              "not JSON",
		`{"Statement":[]} {}`:            "not JSON",
		`{"Statment":[]}`:                "unknown field",
		policyOf("Permit", `"*"`, ""):    `effect "Permit"`,
		policyOf("Allow", `"me"`, ""):    "only \"*\" may stand alone",
		policyOf("Allow", `{"A":1}`, ""): "unknown field",
		policyOf("Allow", `"*"`, `,"NotAction":"*"`):                       "one of Action and NotAction",
		policyOf("Allow", `"*"`, `,"NotResource":"*"`):                     "one of Resource and NotResource",
		policyOf("Allow", `"*"`, `,"NotPrincipal":"*"`):                    "both Principal and NotPrincipal",
		identityPolicy("Allow", "*"):                                       "names principals",
		condition(`"NumericEquals":{"aws:SourceVpce":"1"}`):                `operator "NumericEquals"`,
		condition(`"ForSome:StringEquals":{"aws:SourceVpce":"1"}`):         `operator "ForSome:StringEquals"`,
		condition(`"NullIfExists":{"aws:SourceVpce":"true"}`):              `operator "NullIfExists"`,
		condition(`"StringEquals":{"aws:UserAgent":"x"}`):                  `key "aws:UserAgent"`,
		condition(`"StringEquals":{"aws:SourceVpce":"${aws:SourceVpce}"}`): "variables",
		condition(`"IpAddress":{"aws:VpcSourceIp":"10.0.0.0/40"}`):         "10.0.0.0/40",
		condition(`"IpAddress":{"aws:VpcSourceIp":"ten"}`):                 "ten",
	} {
		if _, err := parsePolicy(document, ofResource); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", document, err, want)
		}
	}
	if _, err := parsePolicy(policyOf("Allow", `"*"`, ""), ofIdentity); err == nil {
		t.Error("an identity's policy that names principals was accepted")
	}
}

// TestTableA and TestTableB are the Developer Guide's decision tables
// (apigateway-authorization-flow), with every pair of what the two sides say.
func TestTableA(t *testing.T) {
	t.Parallel()
	checkTable(t, "arn:aws:iam::"+Account+":user/prober", map[[2]string]string{
		{"allow", "allow"}: "", {"allow", "silent"}: "", {"allow", "account"}: "", {"allow", "deny"}: byResource,
		{"silent", "allow"}: "", {"silent", "silent"}: noIdentity, {"silent", "account"}: noIdentity, {"silent", "deny"}: byResource,
		{"deny", "allow"}: byIdentity, {"deny", "silent"}: byIdentity, {"deny", "account"}: byIdentity, {"deny", "deny"}: byResource,
	})
}

func TestTableB(t *testing.T) {
	t.Parallel()
	checkTable(t, "arn:aws:iam::999988887777:user/visitor", map[[2]string]string{
		{"allow", "allow"}: "", {"allow", "silent"}: noResource, {"allow", "account"}: "", {"allow", "deny"}: byResource,
		{"silent", "allow"}: noIdentity, {"silent", "silent"}: noResource, {"silent", "account"}: noIdentity, {"silent", "deny"}: byResource,
		{"deny", "allow"}: byIdentity, {"deny", "silent"}: byIdentity, {"deny", "account"}: byIdentity, {"deny", "deny"}: byResource,
	})
}

const byIdentity = "with an explicit deny in an identity-based policy"

// checkTable takes (identity, resource) to why it is denied, "" for allowed.
func checkTable(t *testing.T, arn string, table map[[2]string]string) {
	t.Helper()
	account := strings.Split(arn, ":")[4]
	identity := map[string]string{
		"allow": identityPolicy("Allow", "*"), "silent": "", "deny": identityPolicy("Deny", "*"),
	}
	resource := map[string]string{
		"allow": policyOf("Allow", `{"AWS":"`+arn+`"}`, ""), "account": policyOf("Allow", `{"AWS":"arn:aws:iam::`+account+`:root"}`, ""),
		"silent": policyOf("Allow", `{"AWS":"000000000000"}`, ""), "deny": policyOf("Deny", `"*"`, ""),
	}
	if len(table) != len(identity)*len(resource) {
		t.Fatalf("the table has %d rows", len(table))
	}
	for sides, why := range table {
		g := model(func(s *State) {
			s.Principals[AccessKeyID].ARN, s.Principals[AccessKeyID].Policy = arn, identity[sides[0]]
			resourcePolicy(resource[sides[1]])(s)
		})
		status, body := 403, userDenied(arn, signedARN, why)
		if why == "" {
			status, body = 200, `{"status":"ok"}`
		}
		if a := send(t, g, sent{path: "/prod/signed", signed: AccessKeyID}); a.status != status || a.body != body {
			t.Errorf("identity %s, resource %s: got %d %s\nwant %s", sides[0], sides[1], a.status, a.body, body)
		}
	}
}

// TestNarrowAuthorizerByTableA: a resource policy that allows makes up for a
// Lambda authorizer's policy that is silent, but not for one that denies.
func TestNarrowAuthorizerByTableA(t *testing.T) {
	t.Parallel()
	guarded := sent{path: "/prod/guarded", header: map[string]string{"Authorization": BearerToken}}
	verdict := func(v Verdict) func(*State) {
		return method("/guarded", func(m *Method) { m.Authorizer.Verdict = v })
	}
	quiet := resourcePolicy(policyOf("Allow", `{"AWS":"000000000000"}`, ""))
	for _, tt := range []struct {
		change func(*State)
		row    string
	}{
		{verdict(DenyNarrow), ""}, {verdict(DenyExplicit), "A1"}, {both(verdict(DenyNarrow), quiet), "A2"}, {both(verdict(Allow), quiet), ""},
	} {
		g := model(tt.change)
		send(t, g, guarded)
		if got := g.Requests()[0].Row; got != tt.row {
			t.Errorf("row %q, want %q", got, tt.row)
		}
	}
}

// TestGuardrailsAndGrants: what a resource policy grants to the caller is
// beyond the silence of boundaries and session policies, not their denials.
func TestGuardrailsAndGrants(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		kind   GuardrailKind
		effect string
		row    string
	}{
		{Boundary, "Allow", ""}, {Session, "Allow", ""}, {ServiceControl, "Allow", "A8"}, {Boundary, "Deny", "A8"}, {Session, "Deny", "A8"},
	} {
		resource := "*"
		if tt.effect == "Allow" {
			resource = "something-else"
		}
		g := model(func(s *State) {
			s.Principals[AccessKeyID].Guardrails = []Guardrail{{Kind: tt.kind, Policy: identityPolicy(tt.effect, resource)}}
		})
		send(t, g, sent{path: "/prod/signed", signed: AccessKeyID})
		if got := g.Requests()[0].Row; got != tt.row {
			t.Errorf("kind %d, %s: row %q, want %q", tt.kind, tt.effect, got, tt.row)
		}
	}
}

// TestPrivateDomain: the endpoint policy must let both the domain and the API
// pass, and the API's policy can tell by which domain it is called.
func TestPrivateDomain(t *testing.T) {
	t.Parallel()
	domainARN := "arn:aws:execute-api:eu-west-1:111122223333:/domainnames/orders.internal.example+d0e1f2"
	allow := func(resources string) string {
		return `{"Statement":{"Effect":"Allow","Principal":"*","Action":"execute-api:Invoke","Resource":[` + resources + `]}}`
	}
	onlyViaDomain := policyOf("Allow", `"*"`, `,"Condition":{"ArnEquals":{"execute-api:viaDomainArn":"`+domainARN+`"}}`)
	throughDomain := sent{host: PrivateDomain, path: "/health"}
	for _, tt := range []struct {
		name   string
		change func(*State)
		sent   sent
		row    string
	}{
		{"endpoint policy for both", endpointPolicy(allow(`"` + domainARN + `","` + apiARN + `/*"`)), throughDomain, ""},
		{"endpoint policy for the API only", endpointPolicy(allow(`"` + apiARN + `/*"`)), throughDomain, "A5"},
		{"endpoint policy for the domain only", endpointPolicy(allow(`"` + domainARN + `"`)), throughDomain, "A5"},
		{"endpoint policy knows no shorthand", endpointPolicy(allow(`"execute-api:/*"`)), sent{}, "A5"},
		{"API policy, through the domain", resourcePolicy(onlyViaDomain), throughDomain, ""},
		{"API policy, by its own name", resourcePolicy(onlyViaDomain), sent{}, "A4"},
		{"domain policy names its ARN", func(s *State) { s.Domains[PrivateDomain].Policy = allow(`"` + domainARN + `"`) }, throughDomain, ""},
		{"domain policy names another", func(s *State) { s.Domains[PrivateDomain].Policy = allow(`"` + domainARN + `x"`) }, throughDomain, "F9"},
	} {
		g := model(tt.change)
		send(t, g, tt.sent)
		if got := g.Requests()[0].Row; got != tt.row {
			t.Errorf("%s: row %q, want %q", tt.name, got, tt.row)
		}
	}
}

// TestEndpointPolicySeesTheCaller: a signature counts, a wrong one is refused
// even where the method needs none, and the default policy looks at neither.
func TestEndpointPolicySeesTheCaller(t *testing.T) {
	t.Parallel()
	forUser := endpointPolicy(policyOf("Allow", `{"AWS":"`+user+`"}`, ""))
	broken := sent{signed: AccessKeyID, tamper: replace("Signature=", "Signature=0")}
	for _, tt := range []struct {
		name   string
		change func(*State)
		sent   sent
		row    string
	}{
		{"signed by the one it allows", forUser, sent{signed: AccessKeyID}, ""},
		{"signed by another", forUser, sent{signed: RoleAccessKeyID}, "A5"},
		{"unsigned", forUser, sent{}, "A5"},
		{"signature that does not hold", forUser, broken, "D3"},
		{"signature that nobody looks at", nil, broken, ""},
	} {
		g := model(tt.change)
		send(t, g, tt.sent)
		if got := g.Requests()[0].Row; got != tt.row {
			t.Errorf("%s: row %q, want %q", tt.name, got, tt.row)
		}
	}
}

func FuzzPolicy(f *testing.F) {
	for _, seed := range []string{
		onlyThroughEndpoint, allowAll, `{}`, `{"Statement":{}}`, `{"Statement":[null]}`, `null`, `[]`, `{"Statement":{"Condition":{"":{"":[]}}}}`,
		policyOf("Deny", `{"AWS":["*"]}`, `,"Condition":{"Null":{"aws:SourceVpce":[true,"false"]},"ForAllValues:ArnNotLike":{"aws:PrincipalArn":[]}}`),
		policyOf("Allow", `{"Service":"x","Federated":["y"]}`, `,"Sid":"1"`),
	} {
		f.Add(seed)
	}
	q := question(caller(), map[string]string{"aws:sourcevpce": EndpointID, "aws:vpcsourceip": "10.0.0.1"})
	f.Fuzz(func(t *testing.T, document string) {
		p, err := parsePolicy(document, ofResource)
		if err != nil {
			return
		}
		if document != "" && !json.Valid([]byte(document)) {
			t.Fatalf("%q is no JSON", document)
		}
		said := p.rule(q)
		if p == nil {
			return
		}
		// Whatever a policy says, one more denial of everything is the end of it,
		// and without its denials it is not stricter.
		stricter := *p
		stricter.Statements = append(stricter.Statements[:len(p.Statements):len(p.Statements)],
			mustParse(t, policyOf("Deny", `"*"`, ""), ofResource).Statements...)
		if got := stricter.rule(q); got != denies {
			t.Fatalf("%q with a denial of everything: %d", document, got)
		}
		milder := *p
		milder.Statements = nil
		for _, s := range p.Statements {
			if s.Effect == "Allow" {
				milder.Statements = append(milder.Statements, s)
			}
		}
		if got := milder.rule(q); got == denies || said != denies && got != said {
			t.Fatalf("%q: %d, and without its denials %d", document, said, got)
		}
	})
}

// FuzzGlob compares with path.Match, whose * and ? mean the same where there
// are no slashes and brackets.
func FuzzGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("**a", "ba")
	f.Add("", "")
	f.Add("*?*", "")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		for _, text := range []string{pattern, s} {
			if strings.ContainsAny(text, `/[]\^-`) || strings.ContainsFunc(text, func(r rune) bool { return r > 126 }) {
				return
			}
		}
		want, err := path.Match(pattern, s)
		if err == nil && glob(pattern, s) != want {
			t.Fatalf("%q, %q: got %v", pattern, s, !want)
		}
	})
}

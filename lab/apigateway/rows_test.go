package apigateway

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	forbiddenBody = `{"message":"Forbidden"}`
	missingBody   = `{"message":"Missing Authentication Token"}`

	healthARN = "arn:aws:execute-api:eu-west-1:********3333:a1b2c3d4e5/prod/GET/health" // masked, as denials print it
	signedARN = "arn:aws:execute-api:eu-west-1:********3333:a1b2c3d4e5/prod/GET/signed"
	user      = "arn:aws:iam::111122223333:user/prober"
)

// userDenied is what the authorization engine says; why is the new ending.
func userDenied(user, resource, why string) string {
	text := "User: " + user + " is not authorized to perform: execute-api:Invoke on resource: " + resource
	return `{"Message":"` + strings.TrimSuffix(text+" "+why, " ") + `"}`
}

const (
	byResource      = "with an explicit deny in a resource-based policy"
	noResource      = "because no resource-based policy allows the execute-api:Invoke action"
	noIdentity      = "because no identity-based policy allows the execute-api:Invoke action"
	mismatchMessage = "The request signature we calculated does not match the signature you provided." +
		" Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)

// policyOf is a policy of one statement; extra begins with a comma.
func policyOf(effect, principal, extra string) string {
	return `{"Statement":{"Effect":"` + effect + `","Principal":` + principal +
		`,"Action":"execute-api:Invoke","Resource":"*"` + extra + `}}`
}

func identityPolicy(effect, resource string) string {
	return `{"Statement":{"Effect":"` + effect + `","Action":"execute-api:Invoke","Resource":"` + resource + `"}}`
}

func resourcePolicy(policy string) func(*State) {
	return redeploy(func(d *Definition) { d.Policy = policy })
}

func endpointPolicy(policy string) func(*State) {
	return func(s *State) { s.Endpoints[EndpointID].Policy = policy }
}

func guardrail(kind GuardrailKind, policy, arn string) func(*State) {
	return func(s *State) {
		s.Principals[AccessKeyID].Guardrails = []Guardrail{{kind, policy, arn}}
		resourcePolicy(policyOf("Allow", `{"AWS":"`+Account+`"}`, ""))(s) // so that the user's own policy decides
	}
}

func method(path string, change func(*Method)) func(*State) {
	return redeploy(func(d *Definition) { change(d.Resources[path]["GET"]) })
}

// authorizer changes the Lambda authorizer of the regional API's /guarded,
// which has no resource policy.
func authorizer(verdict Verdict) func(*State) {
	return func(s *State) {
		api := s.APIs[RegionalAPI]
		api.Resources["/guarded"]["GET"].Authorizer.Verdict = verdict
		api.Deploy()
	}
}

func both(changes ...func(*State)) func(*State) {
	return func(s *State) {
		for _, change := range changes {
			change(s)
		}
	}
}

func old(s *State) { s.OldMessages = true }

// An incident is a row of FACTS.md made to happen.
type incident struct {
	row       string // as remembered
	also      string // the row of the table that the remembered one stands for
	name      string
	change    func(*State)
	sent      sent
	status    int
	errorType string
	body      string
}

func incidents() []incident {
	return slices.Concat(denials(), missing(), signatures(), forbiddens(), neighbours(), httpAPI())
}

func denials() []incident {
	const ad = "AccessDeniedException"
	guarded := sent{host: regionalHost, path: "/prod/guarded", conn: fromInternet(regionalHost), header: map[string]string{"Authorization": "Bearer " + BearerToken}}
	signed := sent{path: "/prod/signed", signed: AccessKeyID}
	toAccount := policyOf("Allow", `{"AWS":"`+Account+`"}`, "")
	elsewhere := `{"Statement":{"Effect":"Allow","Principal":"*","Action":"execute-api:Invoke","Resource":"execute-api:/prod/GET/other"}}`
	stranger := func(s *State) { s.Principals[AccessKeyID].ARN = "arn:aws:iam::999988887777:user/visitor" }
	scp := "arn:aws:organizations::444455556666:policy/o-a1b2c3d4e5/service_control_policy/p-abc"
	return []incident{
		{row: "A1", name: "new text", change: authorizer(DenyExplicit), sent: guarded, status: 403, errorType: ad,
			body: `{"Message":"User is not authorized to access this resource with an explicit deny in an identity-based policy"}`},
		{row: "A1", name: "old text", change: both(old, authorizer(DenyExplicit)), sent: guarded, status: 403, errorType: ad,
			body: `{"Message":"User is not authorized to access this resource with an explicit deny"}`},
		{row: "A2", name: "new text", change: authorizer(DenyNarrow), sent: guarded, status: 403, errorType: ad,
			body: `{"Message":"User is not authorized to access this resource because no identity-based policy allows the execute-api:Invoke action"}`},
		{row: "A2", name: "old text", change: both(old, authorizer(DenyNarrow)), sent: guarded, status: 403, errorType: ad,
			body: `{"Message":"User is not authorized to access this resource"}`},
		{row: "A3", name: "anonymous", change: resourcePolicy(policyOf("Deny", `"*"`, "")), status: 403, errorType: ad,
			body: userDenied("anonymous", healthARN, byResource)},
		{row: "A3", name: "anonymous, old text", change: both(old, resourcePolicy(policyOf("Deny", `"*"`, ""))), status: 403, errorType: ad,
			body: userDenied("anonymous", healthARN, "with an explicit deny")},
		{row: "A3", name: "signed", change: resourcePolicy(policyOf("Deny", `{"AWS":"`+user+`"}`, "")), sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, byResource)},
		{row: "A3", name: "identity policy", change: func(s *State) { s.Principals[AccessKeyID].Policy = identityPolicy("Deny", "*") }, sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, "with an explicit deny in an identity-based policy")},
		{row: "A3", name: "before a Lambda authorizer", change: resourcePolicy(policyOf("Deny", `"*"`, "")), sent: sent{path: "/prod/guarded"}, status: 403, errorType: ad,
			body: userDenied("anonymous", strings.Replace(healthARN, "health", "guarded", 1), byResource)},
		{row: "A3", name: "through another endpoint", sent: sent{conn: &Conn{ServerName: privateHost, EndpointID: "vpce-0ffffffffffffffff", SourceIP: "10.9.9.9"}}, status: 403, errorType: ad,
			body: userDenied("anonymous", healthARN, byResource)},
		{row: "A3", name: "aws:SourceIp does not exist through an endpoint", change: resourcePolicy(policyOf("Deny", `"*"`, `,"Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`)), status: 403, errorType: ad,
			body: userDenied("anonymous", healthARN, byResource)},
		{row: "A4", name: "silent", change: resourcePolicy(elsewhere), status: 403, errorType: ad, body: userDenied("anonymous", healthARN, noResource)},
		{row: "A4", name: "old text", change: both(old, resourcePolicy(elsewhere)), status: 403, errorType: ad, body: userDenied("anonymous", healthARN, "")},
		{row: "A4", name: "no policy at all on a private API", change: resourcePolicy(""), status: 403, errorType: ad, body: userDenied("anonymous", healthARN, noResource)},
		{row: "A4", name: "a path that does not exist", change: resourcePolicy(elsewhere), sent: sent{path: "/prod/nowhere"}, status: 403, errorType: ad,
			body: userDenied("anonymous", strings.Replace(healthARN, "health", "nowhere", 1), noResource)},
		{row: "A4", name: "Cognito needs both", change: resourcePolicy(elsewhere), sent: sent{path: "/prod/pool", header: map[string]string{"Authorization": BearerToken}}, status: 403, errorType: ad,
			body: userDenied("anonymous", strings.Replace(healthARN, "health", "pool", 1), noResource)},
		{row: "A4", name: "another account needs both", change: both(stranger, resourcePolicy(elsewhere)), sent: signed, status: 403, errorType: ad,
			body: userDenied("arn:aws:iam::999988887777:user/visitor", signedARN, noResource)},
		{row: "A4", also: "A9", name: "policy names a principal, method does not look", change: resourcePolicy(policyOf("Allow", `{"AWS":"`+user+`"}`, "")), sent: sent{signed: AccessKeyID}, status: 403, errorType: ad,
			body: userDenied("anonymous", healthARN, noResource)},
		{row: "A5", name: "silent", change: endpointPolicy(policyOf("Allow", `{"AWS":"999988887777"}`, "")), status: 403, errorType: ad,
			body: userDenied("anonymous", healthARN, "because no VPC endpoint policy allows the execute-api:Invoke action")},
		{row: "A5", name: "before the resource policy", change: both(endpointPolicy(policyOf("Allow", `{"AWS":"999988887777"}`, "")), resourcePolicy(elsewhere)), sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, "because no VPC endpoint policy allows the execute-api:Invoke action")},
		{row: "A5", name: "a bearer token is anonymous", change: endpointPolicy(policyOf("Allow", `{"AWS":"999988887777"}`, "")), sent: sent{header: map[string]string{"Authorization": "Bearer x"}}, status: 403, errorType: ad,
			body: userDenied("anonymous", healthARN, "because no VPC endpoint policy allows the execute-api:Invoke action")},
		{row: "A6", name: "explicit", change: endpointPolicy(policyOf("Deny", `"*"`, "")), status: 403, errorType: ad,
			body: userDenied("anonymous", healthARN, "with an explicit deny in a VPC endpoint policy")},
		{row: "A7", name: "identity silent", change: both(resourcePolicy(toAccount), func(s *State) { s.Principals[AccessKeyID].Policy = "" }), sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, noIdentity)},
		{row: "A7", name: "identity names another API", change: both(resourcePolicy(toAccount), func(s *State) {
			s.Principals[AccessKeyID].Policy = identityPolicy("Allow", "arn:aws:execute-api:*:*:zzzzzzzzzz/*")
		}), sent: signed, status: 403, errorType: ad, body: userDenied(user, signedARN, noIdentity)},
		{row: "A7", name: "another account, resource allows", change: both(stranger, func(s *State) { s.Principals[AccessKeyID].Policy = "" }), sent: signed, status: 403, errorType: ad,
			body: userDenied("arn:aws:iam::999988887777:user/visitor", signedARN, noIdentity)},
		{row: "A8", name: "service control policy silent", change: guardrail(ServiceControl, identityPolicy("Allow", "none"), ""), sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, "because no service control policy allows the execute-api:Invoke action")},
		{row: "A8", name: "service control policy denies, named", change: guardrail(ServiceControl, identityPolicy("Deny", "*"), scp), sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, "with an explicit deny in a service control policy: "+scp)},
		{row: "A8", name: "boundary silent", change: guardrail(Boundary, identityPolicy("Allow", "none"), ""), sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, "because no permissions boundary allows the execute-api:Invoke action")},
		{row: "A8", name: "boundary denies", change: guardrail(Boundary, identityPolicy("Deny", "*"), ""), sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, "with an explicit deny in a permissions boundary")},
		{row: "A8", name: "session policy silent", change: guardrail(Session, identityPolicy("Allow", "none"), ""), sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, "because no session policy allows the execute-api:Invoke action")},
		{row: "A8", name: "session policy denies", change: guardrail(Session, identityPolicy("Deny", "*"), ""), sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, "with an explicit deny in a session policy")},
		{row: "A8", name: "resource control policy silent", change: func(s *State) {
			s.ResourceControl = &Guardrail{Policy: policyOf("Allow", `{"AWS":"000000000000"}`, "")}
		}, status: 403, errorType: ad,
			body: userDenied("anonymous", healthARN, "because no resource control policy allows the execute-api:Invoke action")},
		{row: "A8", name: "resource control policy denies", change: func(s *State) { s.ResourceControl = &Guardrail{Policy: policyOf("Deny", `"*"`, "")} }, sent: signed, status: 403, errorType: ad,
			body: userDenied(user, signedARN, "with an explicit deny in a resource control policy")},
	}
}

func missing() []incident {
	const mt, incomplete = "MissingAuthenticationTokenException", "IncompleteSignatureException"
	bearer := map[string]string{"Authorization": "Bearer tok"}
	restricted := endpointPolicy(policyOf("Allow", `"*"`, ""))
	unknown := sent{path: "/prod/nowhere", header: bearer}
	const hashed = `{"message":"Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): 'cjGfeFVmvDXUeqhG1sIOX3oE9qkj1vdEU05eTCN1miU='."}`
	const equalSign = `{"message":"'tok' not a valid key=value pair (missing equal-sign) in Authorization header: 'Bearer tok'."}`
	return []incident{
		{row: "B1", name: "unsigned", sent: sent{path: "/prod/signed"}, status: 403, errorType: mt, body: missingBody},
		{row: "B2", name: "no such path", sent: sent{path: "/prod/nowhere"}, status: 403, errorType: mt, body: missingBody},
		{row: "B2", name: "no such path, well signed", sent: sent{path: "/prod/nowhere", signed: AccessKeyID}, status: 403, errorType: mt, body: missingBody},
		{row: "B2", name: "nothing where {proxy+} stands", sent: sent{path: "/prod/files/"}, status: 403, errorType: mt, body: missingBody},
		{row: "B2", name: "nothing where {id} stands", sent: sent{path: "/prod/orders/"}, status: 403, errorType: mt, body: missingBody},
		{row: "B3", name: "no such method", sent: sent{method: "DELETE"}, status: 403, errorType: mt, body: missingBody},
		{row: "B2", also: "B4", name: "stage in the path of a custom domain", sent: sent{host: PrivateDomain}, status: 403, errorType: mt, body: missingBody},
		{row: "B2", also: "B5", name: "added, but not deployed", change: func(s *State) {
			s.APIs[PrivateAPI].Resources["/new"] = map[string]*Method{"GET": {}}
		}, sent: sent{path: "/prod/new"}, status: 403, errorType: mt, body: missingBody},
		{row: "C1", name: "one word", change: old, sent: sent{path: "/prod/nowhere", header: map[string]string{"Authorization": "allow"}}, status: 403, errorType: incomplete,
			body: `{"message":"Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=allow"}`},
		{row: "C1", name: "one word, new text", sent: sent{path: "/prod/nowhere", header: map[string]string{"Authorization": "allow"}}, status: 403, errorType: incomplete,
			body: `{"message":"Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. (Hashed with SHA-256 and encoded with Base64) Authorization=QQCDc1c1oQ5lihnt0XBOYGyd0RLiJYJbY/r+3tdmyLk="}`},
		{row: "C1", name: "bearer token", change: old, sent: unknown, status: 403, errorType: incomplete, body: equalSign},
		{row: "C1", name: "bearer token, new text", sent: unknown, status: 403, errorType: incomplete, body: hashed},
		{row: "C1", name: "empty", sent: sent{path: "/prod/nowhere", tamper: func(r *http.Request) { r.Header["Authorization"] = []string{""} }}, status: 403, errorType: incomplete,
			body: `{"message":"Authorization header cannot be empty"}`},
		{row: "C2", name: "bearer token and an endpoint policy", change: both(restricted, func(s *State) { s.EndpointPolicyRefusesBearer = true }), sent: sent{header: bearer}, status: 403, errorType: incomplete, body: hashed},
	}
}

func signatures() []incident {
	const is = "InvalidSignatureException"
	signed := func(skew time.Duration) sent { return sent{path: "/prod/signed", signed: AccessKeyID, skew: skew} }
	scoped := func(region, service string) sent {
		return sent{path: "/prod/signed", signed: AccessKeyID, scope: [2]string{region, service}}
	}
	const invalid = `{"message":"The security token included in the request is invalid."}`
	return []incident{
		{row: "A10", name: "unknown key", sent: sent{path: "/prod/signed", signed: "AKIAUNKNOWN"}, status: 403, errorType: "UnrecognizedClientException", body: invalid},
		{row: "A10", name: "unknown key, as the article has it", change: old, sent: sent{path: "/prod/signed", signed: "AKIAUNKNOWN"}, status: 403, errorType: "AccessDeniedException", body: invalid},
		{row: "A10", name: "temporary credentials without their token", sent: sent{path: "/prod/signed", signed: RoleAccessKeyID, creds: func(c *aws.Credentials) { c.SessionToken = "" }}, status: 403, errorType: "UnrecognizedClientException", body: invalid},
		{row: "A11", name: "expired", change: func(s *State) { s.Principals[RoleAccessKeyID].Expired = true }, sent: sent{path: "/prod/signed", signed: RoleAccessKeyID}, status: 403, errorType: "ExpiredTokenException",
			body: `{"message":"The security token included in the request is expired"}`},
		{row: "D1", name: "clock behind", sent: signed(-5*time.Minute - time.Second), status: 403, errorType: is,
			body: `{"message":"Signature expired: 20260304T115459Z is now earlier than 20260304T115500Z (20260304T120000Z - 5 min.)"}`},
		{row: "D2", name: "clock ahead", sent: signed(5*time.Minute + time.Second), status: 403, errorType: is,
			body: `{"message":"Signature not yet current: 20260304T120501Z is still later than 20260304T120500Z (20260304T120000Z + 5 min.)"}`},
		{row: "D3", name: "wrong secret", sent: sent{path: "/prod/signed", signed: AccessKeyID, creds: func(c *aws.Credentials) { c.SecretAccessKey += "x" }}, status: 403, errorType: is,
			body: `{"message":"` + mismatchMessage + `"}`},
		{row: "D4", name: "region", sent: scoped("eu-west-2", ""), status: 403, errorType: is, body: `{"message":"Credential should be scoped to a valid region. "}`},
		{row: "D4", name: "service", sent: scoped("", "apigateway"), status: 403, errorType: is, body: `{"message":"Credential should be scoped to correct service: 'execute-api'. "}`},
		{row: "D4", name: "both", sent: scoped("eu-west-2", "apigateway"), status: 403, errorType: is,
			body: `{"message":"Credential should be scoped to a valid region. Credential should be scoped to correct service: 'execute-api'. "}`},
	}
}

func forbiddens() []incident {
	const f = "ForbiddenException"
	keyed := func(key string) sent { return sent{path: "/prod/keyed", header: map[string]string{"x-api-key": key}} }
	waf := func(rules ...WAFRule) func(*State) {
		return func(s *State) { s.APIs[PrivateAPI].Stages[StageName].WAF = &WAF{Rules: rules} }
	}
	domain := func(change func(*Domain)) func(*State) { return func(s *State) { change(s.Domains[PrivateDomain]) } }
	strict := func(s *State) { s.APIs[PrivateAPI].AccessMode = Strict }
	byID := map[string]string{"x-apigw-api-id": PrivateAPI}
	throughDomain := sent{host: PrivateDomain, path: "/health"}
	rows := []incident{
		{row: "F1", name: "no key", sent: sent{path: "/prod/keyed"}},
		{row: "F1", name: "unknown key", sent: keyed("bogus")},
		{row: "F1", name: "disabled", change: func(s *State) { s.Keys["key1"].Disabled = true }, sent: keyed(APIKey)},
		{row: "F1", name: "plan is not for the stage", change: func(s *State) { s.Plans[0].Stages = []string{RegionalAPI + "/prod"} }, sent: keyed(APIKey)},
		{row: "F1", name: "key is in no plan", change: func(s *State) { s.Plans[0].Keys = nil }, sent: keyed(APIKey)},
		{row: "F2", name: "everything", change: waf(WAFRule{})},
		{row: "F2", name: "by address", change: waf(WAFRule{Networks: []string{"10.0.1.0/24"}})},
		{row: "F2", name: "by content of the query", change: waf(WAFRule{Contains: "select"}), sent: sent{path: "/prod/health?q=select"}},
		{row: "F2", name: "by content of a header", change: waf(WAFRule{Contains: "sqlmap"}), sent: sent{header: map[string]string{"User-Agent": "sqlmap/1"}}},
		{row: "F2", name: "by path", change: waf(WAFRule{Path: "/prod/hea"})},
		{row: "F2", name: "before the resource policy", change: both(waf(WAFRule{}), resourcePolicy(policyOf("Deny", `"*"`, "")))},
		{row: "F3", name: "endpoint's own name alone", sent: sent{host: vpceHost}},
		{row: "F3", name: "Host with a wrong suffix", sent: sent{host: privateHost + ".cn"}},
		{row: "F3", name: "Host of another region", sent: sent{host: PrivateAPI + ".execute-api.eu-west-2.amazonaws.com"}},
		{row: "F3", name: "alias of an endpoint that is not associated", change: func(s *State) { s.APIs[PrivateAPI].Endpoints = nil }, sent: sent{host: aliasHost}},
		{row: "F3", name: "public custom domain through the endpoint", sent: sent{host: PublicDomain, path: "/health"}},
		{row: "F3", name: "x-apigw-api-id from the internet", sent: sent{host: "nlb.example", header: byID, conn: fromInternet("nlb.example")}},
		{row: "F4", name: "own name", change: func(s *State) { s.APIs[PrivateAPI].DefaultEndpointDisabled = true }},
		{row: "F4", name: "x-apigw-api-id", change: func(s *State) { s.APIs[PrivateAPI].DefaultEndpointDisabled = true }, sent: sent{host: vpceHost, header: byID}},
		{row: "F6", name: "no mapping", change: domain(func(d *Domain) { d.Mappings = nil }), sent: throughDomain},
		{row: "F6", name: "another base path", change: domain(func(d *Domain) { d.Mappings[0].BasePath = "v2" }), sent: throughDomain},
		{row: "F7", name: "no such stage", sent: sent{path: "/prdo/health"}},
		{row: "F7", name: "no stage", sent: sent{path: "/"}},
		{row: "F8", name: "public API through the endpoint", sent: sent{host: regionalHost}},
		{row: "F9", name: "no association", change: domain(func(d *Domain) { d.Associations = nil }), sent: throughDomain},
		{row: "F9", name: "from the internet", sent: sent{host: PrivateDomain, path: "/health", conn: fromInternet(PrivateDomain)}},
		{row: "F10", name: "SNI is the endpoint's", change: strict, sent: sent{conn: throughEndpoint(vpceHost)}},
		{row: "F10", name: "x-apigw-api-id at the endpoint's name", change: strict, sent: sent{host: vpceHost, header: byID}},
		{row: "F10", name: "x-apigw-api-id beside another API's Host", change: strict, sent: sent{host: regionalHost, header: byID}},
		{row: "F10", name: "custom domain", change: domain(func(d *Domain) { d.AccessMode = Strict }), sent: sent{host: PrivateDomain, path: "/health", conn: throughEndpoint(vpceHost)}},
		{row: "F11", name: "no such API", change: func(s *State) { delete(s.APIs, PrivateAPI) }},
		{row: "F11", name: "mapping to no API", change: func(s *State) { delete(s.APIs, PrivateAPI) }, sent: throughDomain},
		{row: "F11", name: "private API from the internet", sent: sent{conn: fromInternet(privateHost)}},
	}
	for i := range rows {
		rows[i].status, rows[i].errorType, rows[i].body = 403, f, forbiddenBody
	}
	const domainARN = "arn:aws:execute-api:eu-west-1:********3333:/domainnames/orders.internal.example+d0e1f2"
	return append(rows,
		incident{row: "F9", name: "domain policy silent", change: domain(func(d *Domain) { d.Policy = "" }), sent: throughDomain,
			status: 403, errorType: "AccessDeniedException", body: userDenied("anonymous", domainARN, noResource)},
		incident{row: "F9", name: "domain policy denies", change: domain(func(d *Domain) { d.Policy = policyOf("Deny", `"*"`, "") }), sent: throughDomain,
			status: 403, errorType: "AccessDeniedException", body: userDenied("anonymous", domainARN, byResource)},
		incident{row: "F2", name: "custom response", change: waf(WAFRule{Response: &GatewayResponse{Status: 451, Body: "<p>no</p>"}}),
			status: 451, body: "<p>no</p>"},
		incident{row: "G1", name: "backend denies", change: method("/health", func(m *Method) { m.Integration = Integration{Status: 403, Body: "no"} }),
			status: 403, body: "no"},
	)
}

func neighbours() []incident {
	integration := func(b Behavior) func(*State) {
		return method("/health", func(m *Method) { m.Integration.Behavior = b })
	}
	waf := func(action WAFAction) func(*State) {
		return func(s *State) { s.APIs[PrivateAPI].Stages[StageName].WAF = &WAF{Rules: []WAFRule{{Action: action}}} }
	}
	const internal, internalBody = "InternalServerErrorException", `{"message": "Internal server error"}`
	bearer := map[string]string{"Authorization": "Bearer " + BearerToken}
	guarded := sent{host: regionalHost, path: "/prod/guarded", conn: fromInternet(regionalHost), header: bearer}
	keyed := sent{path: "/prod/keyed", header: map[string]string{"x-api-key": APIKey}}
	unauthorized := `{"message":"Unauthorized"}`
	long := strings.Repeat("a", 1600-len("arn:aws:execute-api:eu-west-1:111122223333:a1b2c3d4e5/prod/GET/"))
	return []incident{
		{row: "202", name: "WAF challenge", change: waf(Challenge), status: 202},
		{row: "400", name: "parameters", change: method("/health", func(m *Method) { m.RequiredParams = []string{"a", "b", "c"} }), sent: sent{path: "/prod/health?b=1"}, status: 400, errorType: "BadRequestException",
			body: `{"message":"Missing required request parameters: [a, c]"}`},
		{row: "400", name: "body", change: method("/health", func(m *Method) { m.JSONBody = true }), sent: sent{body: "{"}, status: 400, errorType: "BadRequestException",
			body: `{"message":"Invalid request body"}`},
		{row: "401", name: "Lambda, no identity source", sent: sent{path: "/prod/guarded"}, status: 401, errorType: "UnauthorizedException", body: unauthorized},
		{row: "401", name: "Lambda says Unauthorized", change: authorizer(Unauthorized), sent: guarded, status: 401, errorType: "UnauthorizedException", body: unauthorized},
		{row: "401", name: "Cognito, wrong token", sent: sent{path: "/prod/pool", header: map[string]string{"Authorization": "x"}}, status: 401, errorType: "UnauthorizedException", body: unauthorized},
		{row: "405", name: "WAF CAPTCHA", change: waf(Captcha), status: 405},
		{row: "413", name: "body", sent: sent{method: "POST", body: strings.Repeat("x", maxBody+1)}, status: 413, errorType: "RequestTooLargeException",
			body: `{"message":"HTTP content length exceeded 10485760 bytes"}`},
		{row: "414", name: "method ARN of 1601 bytes", sent: sent{path: "/prod/" + long + "a"}, status: 414},
		{row: "B2", name: "method ARN of 1600 bytes", sent: sent{path: "/prod/" + long}, status: 403, errorType: "MissingAuthenticationTokenException", body: missingBody},
		{row: "415", name: "content type", change: method("/health", func(m *Method) { m.ContentTypes = []string{"application/json"} }), sent: sent{header: map[string]string{"Content-Type": "text/csv"}}, status: 415, errorType: "UnsupportedMediaTypeException",
			body: `{"message":"Unsupported Media Type"}`},
		{row: "429", name: "stage", change: func(s *State) { s.APIs[PrivateAPI].Stages[StageName].Throttled = true }, status: 429, errorType: "TooManyRequestsException", body: `{"message":"Too Many Requests"}`},
		{row: "429", name: "method", change: method("/health", func(m *Method) { m.Throttled = true }), status: 429, errorType: "TooManyRequestsException", body: `{"message":"Too Many Requests"}`},
		{row: "429", name: "plan", change: func(s *State) { s.Plans[0].Throttled = true }, sent: keyed, status: 429, errorType: "TooManyRequestsException", body: `{"message":"Too Many Requests"}`},
		{row: "429 quota", name: "plan", change: func(s *State) { s.Plans[0].QuotaSpent = true }, sent: keyed, status: 429, errorType: "LimitExceededException", body: `{"message":"Limit Exceeded"}`},
		{row: "500", name: "integration", change: integration(NotPermitted), status: 500, errorType: internal, body: internalBody},
		{row: "500", name: "WAF", change: func(s *State) { s.APIs[PrivateAPI].Stages[StageName].WAF = &WAF{Broken: true} }, status: 500, errorType: internal,
			body: `{"message": "There was an error evaluating the AWS WAF rules associated with this API"}`},
		{row: "500 authorizer", name: "failed", change: authorizer(Failed), sent: guarded, status: 500, errorType: "AuthorizerFailureException", body: `{"message":null}`},
		{row: "500 authorizer", name: "misconfigured", change: authorizer(Misconfigured), sent: guarded, status: 500, errorType: "AuthorizerConfigurationException", body: `{"message":null}`},
		{row: "502", name: "malformed", change: integration(MalformedResponse), status: 502, errorType: internal, body: internalBody},
		{row: "503", name: "unavailable", change: integration(Unavailable), status: 503, body: `{"message":"Service Unavailable"}`},
		{row: "504", name: "timeout", change: integration(TimesOut), status: 504, errorType: internal, body: `{"message": "Endpoint request timed out"}`},
		{row: "504", name: "network", change: integration(Unreachable), status: 504, errorType: internal, body: `{"message": "Network error communicating with endpoint"}`},
	}
}

// httpAPI: no error type anywhere.
func httpAPI() []incident {
	to := func(path string) sent { return sent{host: httpHost, path: path, conn: fromInternet(httpHost)} }
	guarded, misscoped := to("/prod/guarded"), to("/prod/signed")
	permitted := misscoped
	permitted.signed = AccessKeyID
	misscoped.signed, misscoped.scope = AccessKeyID, [2]string{"eu-west-2", ""}
	guarded.header = map[string]string{"Authorization": BearerToken}
	change := func(path string, f func(*Method)) func(*State) {
		return func(s *State) { f(s.APIs[HTTPAPI].Resources[path]["GET"]); s.APIs[HTTPAPI].Deploy() }
	}
	verdict := func(v Verdict) func(*State) {
		return change("/guarded", func(m *Method) { m.Authorizer.Verdict = v })
	}
	fails := func(b Behavior) func(*State) {
		return change("/health", func(m *Method) { m.Integration.Behavior = b })
	}
	return []incident{
		{row: "404", name: "no such path", sent: to("/prod/nowhere"), status: 404, body: `{"message":"Not Found"}`},
		{row: "404", name: "no such stage", sent: to("/prdo/health"), status: 404, body: `{"message":"Not Found"}`},
		{row: "403", name: "unsigned", sent: to("/prod/signed"), status: 403, body: forbiddenBody},
		{row: "403", name: "no permission", change: func(s *State) { s.Principals[AccessKeyID].Policy = "" }, sent: permitted, status: 403, body: forbiddenBody},
		{row: "403", name: "wrong scope", sent: misscoped, status: 403, body: forbiddenBody},
		{row: "401", name: "no token", sent: to("/prod/guarded"), status: 401, body: `{"message":"Unauthorized"}`},
		{row: "403", name: "authorizer denies", change: verdict(DenyNarrow), sent: guarded, status: 403, body: forbiddenBody},
		{row: "500", name: "authorizer fails", change: verdict(Failed), sent: guarded, status: 500, body: `{"message":"Internal Server Error"}`},
		{row: "429", name: "throttled", change: change("/health", func(m *Method) { m.Throttled = true }), sent: to("/prod/health"), status: 429, body: `{"message":"Too Many Requests"}`},
		{row: "500", name: "integration", change: fails(NotPermitted), sent: to("/prod/health"), status: 500, body: `{"message":"Internal Server Error"}`},
		{row: "503", name: "integration", change: fails(TimesOut), sent: to("/prod/health"), status: 503, body: `{"message":"Service Unavailable"}`},
	}
}

func TestRows(t *testing.T) {
	t.Parallel()
	for _, tt := range incidents() {
		name := strings.TrimPrefix(tt.also+" "+tt.row+" "+tt.name, " ")
		if tt.sent.host == httpHost {
			name = "HTTP API " + name
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := model(tt.change)
			a := send(t, g, tt.sent)
			if a.status != tt.status || a.body != tt.body {
				t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, tt.status, tt.body)
			}
			if got := a.header.Get("X-Amzn-Errortype"); got != tt.errorType {
				t.Errorf("error type %q, want %q", got, tt.errorType)
			}
			if r := g.Requests()[0]; r.Row != tt.row || r.Status != tt.status {
				t.Errorf("remembered row %q and status %d, want %q and %d", r.Row, r.Status, tt.row, tt.status)
			}
			checkHeaders(t, a, tt.sent)

			tt.sent.method = "HEAD" // the same cause, or another: never a body
			if head := send(t, g, tt.sent); head.body != "" {
				t.Errorf("HEAD was answered with a body: %s", head.body)
			}
		})
	}
}

// checkHeaders checks what every answer has, and who it says answered.
func checkHeaders(t *testing.T, a got, s sent) {
	t.Helper()
	if got := a.header.Get("Date"); got != "Wed, 04 Mar 2026 12:00:00 GMT" {
		t.Errorf("Date %q", got)
	}
	ids := []string{"X-Amzn-Requestid", "X-Amz-Apigw-Id"}
	if s.host == httpHost {
		ids = []string{"Apigw-Requestid"}
	}
	for _, name := range []string{"X-Amzn-Requestid", "X-Amz-Apigw-Id", "Apigw-Requestid"} {
		if has := a.header.Get(name) != ""; has != slices.Contains(ids, name) {
			t.Errorf("%s is there: %v", name, has)
		}
	}
	private := s.conn == nil || s.conn.EndpointID != ""
	if has := a.header.Get("Server") == "Server"; has != private {
		t.Errorf("Server: Server is there: %v", has)
	}
}

// TestBodiesHaveTheLengthsSeen holds the lengths that transcripts show.
func TestBodiesHaveTheLengthsSeen(t *testing.T) {
	t.Parallel()
	lengths := map[string]string{
		"F7 no such stage": "23", "B1 unsigned": "42", "500 integration": "36", "504 timeout": "41", "504 network": "56",
	}
	for _, tt := range incidents() {
		want, ok := lengths[tt.row+" "+tt.name]
		if !ok || tt.sent.host == httpHost {
			continue
		}
		delete(lengths, tt.row+" "+tt.name)
		if got := send(t, model(tt.change), tt.sent).header.Get("Content-Length"); got != want {
			t.Errorf("%s %s: content-length %s, want %s", tt.row, tt.name, got, want)
		}
	}
	if len(lengths) > 0 {
		t.Errorf("not asked: %v", lengths)
	}
}

// TestEveryRowIsReachable keeps the table above complete.
func TestEveryRowIsReachable(t *testing.T) {
	t.Parallel()
	rows := strings.Fields(`A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 B1 B2 B3 B4 B5 C1 C2 D1 D2 D3 D4
		F1 F2 F3 F4 F6 F7 F8 F9 F10 F11 G1 202 400 401 404 405 413 414 415 429 500 502 503 504`) // F5 has a table of its own
	reached := map[string]bool{}
	for _, tt := range incidents() {
		reached[tt.row], reached[tt.also] = true, true
	}
	for _, row := range rows {
		if !reached[row] {
			t.Errorf("nothing reaches %s", row)
		}
	}
}

func TestWAFHeaders(t *testing.T) {
	t.Parallel()
	for action, want := range map[WAFAction]string{Challenge: "challenge", Captcha: "captcha"} {
		g := model(func(s *State) { s.APIs[PrivateAPI].Stages[StageName].WAF = &WAF{Rules: []WAFRule{{Action: action}}} })
		if got := send(t, g, sent{}).header.Get("X-Amzn-Waf-Action"); got != want {
			t.Errorf("x-amzn-waf-action %q, want %q", got, want)
		}
	}
}

func TestWAFLetsPass(t *testing.T) {
	t.Parallel()
	for name, rules := range map[string][]WAFRule{
		"another address":          {{Networks: []string{"10.0.2.0/24"}}},
		"one condition of two":     {{Networks: []string{"10.0.1.0/24"}, Contains: "select"}},
		"a rule that lets it pass": {{Action: Pass}, {Action: Block}},
	} {
		g := model(func(s *State) { s.APIs[PrivateAPI].Stages[StageName].WAF = &WAF{Rules: rules} })
		if a := send(t, g, sent{}); a.status != 200 {
			t.Errorf("%s: got %d", name, a.status)
		}
	}
}

// TestBasePaths takes the longest base path.
func TestBasePaths(t *testing.T) {
	t.Parallel()
	g := model(func(s *State) {
		s.APIs[RegionalAPI].Stages["v2"] = &Stage{Definition: Definition{Resources: map[string]map[string]*Method{
			"/health": {"GET": {Integration: Integration{Body: "two"}}},
		}}}
		s.Domains[PublicDomain].Mappings = []Mapping{
			{BasePath: "shop/two", API: RegionalAPI, Stage: "v2"}, {BasePath: "shop", API: RegionalAPI, Stage: StageName},
			{BasePath: "shop/two/three", API: RegionalAPI, Stage: StageName},
		}
	})
	for path, want := range map[string]string{
		"/shop/health": `{"status":"ok"}`, "/shop/two/health": "two", "/shop/two/three/health": `{"status":"ok"}`, "/shopping/health": forbiddenBody, "/health": forbiddenBody,
	} {
		if a := send(t, g, sent{host: PublicDomain, path: path, conn: fromInternet(PublicDomain)}); a.body != want {
			t.Errorf("%s: got %s, want %s", path, a.body, want)
		}
	}
}

// TestRoutingRules tries routing rules before mappings.
func TestRoutingRules(t *testing.T) {
	t.Parallel()
	g := model(func(s *State) {
		s.APIs[RegionalAPI].Stages["v2"] = &Stage{Definition: Definition{Resources: map[string]map[string]*Method{
			"/health": {"GET": {Integration: Integration{Body: "two"}}},
		}}}
		s.Domains[PublicDomain].Rules = []RoutingRule{{Header: "X-Version", Value: "2", API: RegionalAPI, Stage: "v2"}}
	})
	for version, want := range map[string]string{"2": "two", "1": `{"status":"ok"}`, "": `{"status":"ok"}`} {
		if a := send(t, g, sent{host: PublicDomain, path: "/health", header: map[string]string{"X-Version": version}, conn: fromInternet(PublicDomain)}); a.body != want {
			t.Errorf("version %q: got %s, want %s", version, a.body, want)
		}
	}
}

func TestPolicyChangesNeedADeployment(t *testing.T) {
	t.Parallel()
	g := model(func(s *State) { s.APIs[PrivateAPI].Policy = policyOf("Deny", `"*"`, "") })
	if a := send(t, g, sent{}); a.status != 200 {
		t.Errorf("got %d before the deployment", a.status)
	}
	g.Update(func(s *State) { s.APIs[PrivateAPI].Deploy() })
	if a := send(t, g, sent{}); a.status != 403 {
		t.Errorf("got %d after it", a.status)
	}
}

func TestGatewayResponses(t *testing.T) {
	t.Parallel()
	denied := policyOf("Deny", `"*"`, "")
	custom := func(responses map[ResponseType]GatewayResponse) func(*State) {
		return redeploy(func(d *Definition) { d.Responses = responses })
	}
	teapot := GatewayResponse{
		Status: 418, Header: http.Header{"X-Error": {"yes"}},
		Body: `{"type":"$context.error.responseType","text":$context.error.messageString}`,
	}
	for _, tt := range []struct {
		name      string
		change    func(*State)
		sent      sent
		status    int
		errorType string
		body      string
	}{
		{"own type", custom(map[ResponseType]GatewayResponse{InvalidAPIKey: teapot}), sent{path: "/prod/keyed"},
			418, "ForbiddenException", `{"type":"INVALID_API_KEY","text":"Forbidden"}`},
		{"own type before the class", custom(map[ResponseType]GatewayResponse{Default4XX: {Status: 499}, MissingAuthenticationToken: teapot}), sent{path: "/prod/nowhere"},
			418, "MissingAuthenticationTokenException", `{"type":"MISSING_AUTHENTICATION_TOKEN","text":"Missing Authentication Token"}`},
		{"class", custom(map[ResponseType]GatewayResponse{Default4XX: {Status: 404, HideErrorType: true}}), sent{path: "/prod/nowhere"},
			404, "", missingBody},
		{"class of 5xx", both(custom(map[ResponseType]GatewayResponse{Default5XX: {Body: "sorry"}}), method("/health", func(m *Method) { m.Integration.Behavior = Unreachable })), sent{},
			504, "InternalServerErrorException", "sorry"},
		{"413 is beyond it", custom(map[ResponseType]GatewayResponse{RequestTooLarge: teapot, Default4XX: teapot}), sent{method: "POST", body: strings.Repeat("x", maxBody+1)},
			413, "RequestTooLargeException", `{"message":"HTTP content length exceeded 10485760 bytes"}`},
		{"denials are the engine's", both(custom(map[ResponseType]GatewayResponse{AccessDenied: teapot}), redeploy(func(d *Definition) { d.Policy = denied })), sent{},
			403, "AccessDeniedException", userDenied("anonymous", healthARN, byResource)},
		{"unless the switch is set", both(custom(map[ResponseType]GatewayResponse{AccessDenied: teapot}), redeploy(func(d *Definition) { d.Policy = denied }), func(s *State) { s.ResponsesCoverDenials = true }), sent{},
			418, "AccessDeniedException", `{"type":"ACCESS_DENIED","text":"User: anonymous is not authorized to perform: execute-api:Invoke on resource: ` + healthARN + " " + byResource + `"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := send(t, model(tt.change), tt.sent)
			if a.status != tt.status || a.body != tt.body || a.header.Get("X-Amzn-Errortype") != tt.errorType {
				t.Errorf("got  %d %q %s\nwant %d %q %s", a.status, a.header.Get("X-Amzn-Errortype"), a.body, tt.status, tt.errorType, tt.body)
			}
			if has := a.header.Get("X-Error") == "yes"; has != (tt.status == 418) {
				t.Errorf("the custom header is there: %v", has)
			}
		})
	}
}

// TestPartitions: names, suffixes and ARNs of China and GovCloud.
func TestPartitions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ region, suffix, partition string }{
		{"cn-north-1", "amazonaws.com.cn", "aws-cn"}, {"us-gov-west-1", "", "aws-us-gov"}, {"eu-central-1", "", "aws"},
	} {
		g := model(func(s *State) {
			s.Region, s.DNSSuffix = tt.region, tt.suffix
			resourcePolicy(policyOf("Deny", `"*"`, ""))(s)
		})
		suffix := tt.suffix
		if suffix == "" {
			suffix = "amazonaws.com"
		}
		a := send(t, g, sent{host: PrivateAPI + ".execute-api." + tt.region + "." + suffix})
		resource := "arn:" + tt.partition + ":execute-api:" + tt.region + ":********3333:a1b2c3d4e5/prod/GET/health"
		if want := userDenied("anonymous", resource, byResource); a.body != want {
			t.Errorf("%s: got %s, want %s", tt.region, a.body, want)
		}
	}
}

// TestSignedOnHTTPAPI: SigV4 works there as well.
func TestSignedOnHTTPAPI(t *testing.T) {
	t.Parallel()
	a := send(t, model(nil), sent{host: httpHost, path: "/prod/signed", conn: fromInternet(httpHost), signed: AccessKeyID})
	if a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// TestDefaultStageOfHTTPAPI serves without a stage in the path.
func TestDefaultStageOfHTTPAPI(t *testing.T) {
	t.Parallel()
	g := model(func(s *State) { s.APIs[HTTPAPI].Stages["$default"] = s.APIs[HTTPAPI].Stages[StageName] })
	for _, path := range []string{"/health", "/prod/health"} {
		if a := send(t, g, sent{host: httpHost, path: path, conn: fromInternet(httpHost)}); a.status != 200 {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
}

// TestOrder lets two causes meet: the answer is about the earlier one, in the
// order of FACTS.md 1.4.
func TestOrder(t *testing.T) {
	t.Parallel()
	nobody := policyOf("Allow", `{"AWS":"000000000000"}`, "")
	blocked := func(s *State) { s.APIs[PrivateAPI].Stages[StageName].WAF = &WAF{Rules: []WAFRule{{}}} }
	throttled := func(s *State) { s.APIs[PrivateAPI].Stages[StageName].Throttled = true }
	disabled := func(s *State) { s.APIs[PrivateAPI].DefaultEndpointDisabled = true }
	truststore := func(s *State) { s.Domains[PublicDomain].Truststore = []*x509.Certificate{} }
	unmapped := func(s *State) { s.Domains[PublicDomain].Mappings = nil }
	broken := method("/keyed", func(m *Method) { m.RequiredParams, m.Integration.Behavior = []string{"a"}, NotPermitted })
	keyed := sent{path: "/prod/keyed"}
	withKey := sent{path: "/prod/keyed", header: map[string]string{"x-api-key": APIKey}}
	public := sent{host: PublicDomain, path: "/health", conn: fromInternet(PublicDomain)}
	for _, tt := range []struct {
		first  string
		change func(*State)
		sent   sent
	}{
		{"F3", disabled, sent{host: vpceHost}},
		{"F4", disabled, sent{path: "/nostage/health"}},
		{"F7", both(endpointPolicy(nobody), blocked), sent{path: "/nostage/health"}},
		{"F6", both(unmapped, truststore), public},
		{"F5", truststore, public},
		{"A5", both(endpointPolicy(nobody), blocked), sent{}},
		{"F2", both(blocked, resourcePolicy(nobody)), sent{}},
		{"A4", both(resourcePolicy(nobody), throttled), sent{path: "/prod/nowhere"}},
		{"A4", both(resourcePolicy(nobody), throttled), keyed},
		{"B2", throttled, sent{path: "/prod/nowhere"}},
		{"F1", throttled, keyed},
		{"429", both(broken, throttled), withKey},
		{"400", broken, withKey},
	} {
		g := model(tt.change)
		send(t, g, tt.sent)
		if got := g.Requests()[0].Row; got != tt.first {
			t.Errorf("%s%s: got row %s, want %s", tt.sent.host, tt.sent.path, got, tt.first)
		}
	}
}

// TestLargestBody passes.
func TestLargestBody(t *testing.T) {
	t.Parallel()
	if a := send(t, model(nil), sent{method: "POST", body: strings.Repeat("x", maxBody)}); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

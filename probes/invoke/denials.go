package invoke

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"vpcprobe/probes"
	"vpcprobe/probes/resolve"
)

// A Family is a kind of answer with several causes, about which package
// followup knows what to ask further. The empty family needs no asking.
type Family string

// The families.
const (
	Forbidden    Family = "forbidden"     // {"message":"Forbidden"}: at least eleven causes
	MissingToken Family = "missing-token" // Missing Authentication Token: five
	Malformed    Family = "malformed"     // an Authorization header that is no signature: four
	Anonymous    Family = "anonymous"     // nobody in particular was denied: the policy, or who is asking
	Named        Family = "named"         // the old text of a denial, which names no policy
	Stranger     Family = "stranger"      // no mark of API Gateway or of anybody else: who answers is at the address, or on the way there
)

// A denial is a row of the table of denials: an answer that API Gateway is
// known to give, and what it may mean.
type denial struct {
	id         string                // the row's letter and number in the project's notes, or the status
	who        Who                   // who must have answered, if that matters
	status     []int                 // any of these, if any are given
	errorTypes []string              // any of these, if any are given
	message    func() *regexp.Regexp // must match the message, if given
	meets      func(*Answer) bool
	family     Family
	causes     []string // findings; which of them are possible depends on the situation
	certainty  probes.Certainty
	source     string
}

// What the documents are called in sources.
const (
	k0       = "AWS re:Post Knowledge Center, api-gateway-troubleshoot-403-forbidden"
	k2       = "AWS re:Post Knowledge Center, api-gateway-private-endpoint-connection"
	guide    = "API Gateway Developer Guide, "
	iamGuide = "IAM User Guide, troubleshoot_access-denied"
	seen     = "transcripts of answers seen in 2025/26"
)

// The texts of denials. user is who and what; policies with an ARN have been
// named since January 2026.
const (
	user      = `^User: .+ is not authorized to perform: execute-api:Invoke on resource: \S+`
	anybody   = `^User: anonymous is not authorized to perform: execute-api:Invoke on resource: \S+`
	policyARN = `(: arn:\S+)?\.?$`
)

// re compiles a pattern when it is needed first: all of them take 0.4 MB and
// two milliseconds, and most agents never see a denial.
func re(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// Sets of causes that answers share.
var (
	accessTypes    = []string{"AccessDeniedException"}
	signatureTypes = []string{"InvalidSignatureException"}
	partialTypes   = []string{"IncompleteSignatureException"}
	tokenTypes     = []string{"MissingAuthenticationTokenException"}
	forbiddenTypes = []string{"ForbiddenException"}
	internalTypes  = []string{"InternalServerErrorException"}

	absent         = []string{"path-not-found", "method-not-found", "not-redeployed"}
	forbiddenSet   = []string{"api-key-rejected", "waf-blocked", "host-not-recognized", "strict-endpoint-access", "default-endpoint-disabled", "client-cert-distrusted", "base-path-unmapped", "stage-not-found", "public-api-captured", "domain-not-associated", "api-not-found", "authorizer-denies"}
	anonymousSet   = []string{"resource-policy-silent", "endpoint-policy-silent", "caller-anonymous"}
	namedSilent    = []string{"identity-policy-silent", "resource-policy-silent", "endpoint-policy-silent", "organization-policy-denies"}
	namedDenies    = []string{"identity-policy-denies", "resource-policy-denies", "endpoint-policy-denies", "organization-policy-denies"}
	anonymousDeny  = []string{"resource-policy-denies", "endpoint-policy-denies"}
	accessSet      = []string{"resource-policy-silent", "resource-policy-denies", "endpoint-policy-silent", "endpoint-policy-denies", "identity-policy-silent", "identity-policy-denies", "organization-policy-denies", "authorizer-denies", "authorizer-policy-narrow", "caller-anonymous", "access-key-invalid"}
	signatureSet   = []string{"clock-behind", "clock-ahead", "signature-mismatch", "signing-scope-wrong"}
	missingTokens  = slices.Concat([]string{"request-unsigned"}, absent, []string{"stage-in-path"})
	malformedSet   = slices.Concat([]string{"authorization-malformed"}, absent)
	httpForbidden  = slices.Concat([]string{"authorizer-denies", "client-cert-distrusted", "base-path-unmapped", "request-unsigned"}, httpSigned, []string{"backend-denied"})
	httpSigned     = []string{"identity-policy-silent", "identity-policy-denies", "access-key-invalid", "signature-mismatch"} // HTTP APIs have one word for all
	internalCauses = []string{"integration-failed", "authorizer-failed"}
)

// denials are tried in order: the error type and the message together first,
// then, where a gateway response was customized, the one without the other.
var denials = []denial{
	// Authorizers.
	{id: "A1", errorTypes: accessTypes, message: re(`^User is not authorized to access this resource with an explicit deny( in an identity-based policy)?\.?$`),
		causes: []string{"authorizer-denies"}, certainty: probes.Certain, source: k0},
	{id: "A2", errorTypes: accessTypes, message: re(`^User is not authorized to access this resource( because no identity-based policy allows the execute-api:Invoke action)?\.?$`),
		causes: []string{"authorizer-policy-narrow"}, certainty: probes.Certain, source: seen},

	// Policies, in the texts that name the policy.
	{id: "A3", errorTypes: accessTypes, message: re(user + ` with an explicit deny in a resource-based policy` + policyARN),
		causes: []string{"resource-policy-denies"}, certainty: probes.Certain, source: seen},
	{id: "A3", errorTypes: accessTypes, message: re(user + ` with an explicit deny in an identity-based policy` + policyARN),
		causes: []string{"identity-policy-denies"}, certainty: probes.Certain, source: iamGuide},
	{id: "A4", errorTypes: accessTypes, message: re(anybody + ` because no resource-based policy allows the execute-api:Invoke action` + policyARN),
		family: Anonymous, causes: []string{"resource-policy-silent", "caller-anonymous"}, source: seen},
	{id: "A4", errorTypes: accessTypes, message: re(user + ` because no resource-based policy allows the execute-api:Invoke action` + policyARN),
		causes: []string{"resource-policy-silent"}, certainty: probes.Certain, source: seen},
	{id: "A5", errorTypes: accessTypes, message: re(user + ` because no VPC endpoint policy allows the execute-api:Invoke action` + policyARN),
		causes: []string{"endpoint-policy-silent"}, certainty: probes.Certain, source: seen},
	{id: "A6", errorTypes: accessTypes, message: re(user + ` with an explicit deny in a VPC endpoint policy` + policyARN),
		causes: []string{"endpoint-policy-denies"}, certainty: probes.Possible, source: iamGuide},
	{id: "A7", errorTypes: accessTypes, message: re(user + ` because no identity-based policy allows the execute-api:Invoke action` + policyARN),
		causes: []string{"identity-policy-silent"}, certainty: probes.Certain, source: "AWS re:Post Knowledge Center, api-gateway-iam-sigv4-mismatch"},
	{id: "A8", errorTypes: accessTypes, message: re(user + ` because no (service control policy|resource control policy|session policy|permissions boundary) allows the execute-api:Invoke action` + policyARN),
		causes: []string{"organization-policy-denies"}, certainty: probes.Certain, source: iamGuide},
	{id: "A8", errorTypes: accessTypes, message: re(user + ` with an explicit deny in an? (service control policy|resource control policy|session policy|permissions boundary)` + policyARN),
		causes: []string{"organization-policy-denies"}, certainty: probes.Certain, source: iamGuide},

	// Policies, in the older texts, which do not.
	{id: "A3", errorTypes: accessTypes, message: re(anybody + ` with an explicit deny\.?$`),
		family: Named, causes: anonymousDeny, source: k0},
	{id: "A3", errorTypes: accessTypes, message: re(user + ` with an explicit deny\.?$`),
		family: Named, causes: namedDenies, source: k0},
	{id: "A4", errorTypes: accessTypes, message: re(anybody + `$`),
		family: Anonymous, causes: anonymousSet, source: k0 + "; " + k2},
	{id: "A4", errorTypes: accessTypes, message: re(user + `$`),
		family: Named, causes: namedSilent, source: k0},

	// Credentials. The error types of these two have not been seen.
	{id: "A10", message: re(`(?i)^The security token included in the request is invalid\.?$`),
		causes: []string{"access-key-invalid"}, certainty: probes.Certain, source: k0},
	{id: "A11", message: re(`(?i)^The security token included in the request is expired\.?$`),
		causes: []string{"credentials-expired"}, certainty: probes.Certain, source: guide + "supported-gateway-response-types"},

	{id: "B", errorTypes: tokenTypes, message: re(`^Missing Authentication Token$`),
		family: MissingToken, causes: missingTokens, source: k0},

	// Signatures. Scope first: several of the texts may stand in one message.
	{id: "D4", message: re(`Credential should be scoped (to a valid region|to correct service|with a valid terminator)`),
		causes: []string{"signing-scope-wrong"}, certainty: probes.Certain, source: seen},
	{id: "D1", errorTypes: signatureTypes, message: re(`^Signature expired\b`),
		causes: []string{"clock-behind"}, certainty: probes.Likely, source: k0}, // certain with a Date header that agrees
	{id: "D2", errorTypes: signatureTypes, message: re(`^Signature not yet current\b`),
		causes: []string{"clock-ahead"}, certainty: probes.Possible, source: "the wording of other AWS services"},
	{id: "D3", errorTypes: signatureTypes, message: re(`^The request signature we calculated does not match the signature you provided`),
		causes: []string{"signature-mismatch"}, certainty: probes.Certain, source: k0},
	{id: "C1", errorTypes: partialTypes, message: re(`Authorization header requires ('Credential'|'Signature'|'SignedHeaders'|existence of)|key=value pair|^Authorization header cannot be empty`),
		family: Malformed, causes: malformedSet, source: k0},
	{id: "C1", message: re(`^Date must be in ISO-8601|must be a 'SignedHeader'|^Unsupported AWS 'algorithm'|^Credential must have exactly 5 |^AWS query-string parameters must include|^Date in Credential scope does not match`),
		causes: []string{"authorization-malformed"}, certainty: probes.Certain, source: "the wording of other AWS services"},

	// 403 without a reason.
	{id: "F1", errorTypes: forbiddenTypes, message: re(`(?i)^Invalid API Key identifier specified`),
		causes: []string{"api-key-rejected"}, certainty: probes.Certain, source: k0},
	{id: "F", errorTypes: forbiddenTypes, message: re(`^Forbidden$`),
		family: Forbidden, causes: forbiddenSet, source: k0},
	{id: "function-url", who: FunctionURL, causes: []string{"not-api-gateway"}, certainty: probes.Certain, source: seen},

	// The web application firewall's other answers.
	{id: "waf", meets: func(a *Answer) bool { return a.WAFAction != "" }, causes: []string{"waf-challenge"}, certainty: probes.Certain,
		source: "AWS WAF Developer Guide, waf-captcha-and-challenge"},
	{id: "500", status: []int{500}, message: re(`^There was an error evaluating the AWS WAF rules`),
		causes: []string{"waf-failed"}, certainty: probes.Certain, source: guide + "apigateway-control-access-aws-waf"},

	// Authorizers that did not get as far as a policy.
	{id: "401", errorTypes: []string{"UnauthorizedException"}, message: re(`^Unauthorized$`),
		causes: []string{"authorizer-unauthorized"}, certainty: probes.Certain, source: guide + "supported-gateway-response-types"},
	{id: "500", errorTypes: []string{"AuthorizerConfigurationException", "AuthorizerFailureException"},
		causes: []string{"authorizer-failed"}, certainty: probes.Possible, source: guide + "supported-gateway-response-types"},

	// Gateway responses may have their status customized: the error type tells.
	{id: "429", errorTypes: []string{"TooManyRequestsException", "ThrottlingException"}, causes: []string{"throttled"}, certainty: probes.Certain, source: guide + "api-gateway-request-throttling"},
	{id: "429", errorTypes: []string{"LimitExceededException"}, causes: []string{"quota-exceeded"}, certainty: probes.Certain, source: guide + "api-gateway-api-usage-plans"},

	{id: "400", errorTypes: []string{"BadRequestException"}, causes: []string{"request-invalid"}, certainty: probes.Certain, source: guide + "api-gateway-method-request-validation"},
	{id: "413", status: []int{413}, meets: itself, causes: []string{"request-invalid"}, certainty: probes.Possible, source: guide + "supported-gateway-response-types"},
	{id: "414", status: []int{414}, meets: itself, causes: []string{"request-invalid"}, certainty: probes.Possible, source: guide + "limits"},
	{id: "415", status: []int{415}, meets: itself, causes: []string{"request-invalid"}, certainty: probes.Possible, source: guide + "supported-gateway-response-types"},

	// Integrations.
	{id: "504", errorTypes: internalTypes, message: re(`^Endpoint request timed out$`),
		causes: []string{"integration-timeout"}, certainty: probes.Certain, source: seen},
	{id: "504", errorTypes: internalTypes, message: re(`^Network error communicating with endpoint$`),
		causes: []string{"integration-failed"}, certainty: probes.Certain, source: seen},
	{id: "502", status: []int{502}, errorTypes: internalTypes, message: re(`^Internal server error$`),
		causes: []string{"integration-failed"}, certainty: probes.Certain, source: seen},
	{id: "500", status: []int{500}, errorTypes: internalTypes, message: re(`^Internal server error$`),
		causes: []string{"integration-failed"}, certainty: probes.Likely, source: seen},
	{id: "500", status: []int{500}, errorTypes: internalTypes, causes: internalCauses, source: guide + "supported-gateway-response-types"},
	{id: "503", status: []int{503}, who: RESTAPI, message: re(`^Service Unavailable$`),
		causes: []string{"backend-error"}, certainty: probes.Likely, source: seen},

	// HTTP APIs, which give no error types.
	{id: "http-403", who: HTTPAPI, status: []int{403}, message: re(`^Forbidden$`), causes: httpForbidden, family: Forbidden, source: k0},
	{id: "http-401", who: HTTPAPI, status: []int{401}, message: re(`^Unauthorized$`), causes: []string{"authorizer-unauthorized", "backend-denied"}, source: guide + "http-api-jwt-authorizer"},
	{id: "http-404", who: HTTPAPI, status: []int{404}, message: re(`^Not Found$`), causes: slices.Concat(absent, []string{"stage-in-path"}), source: "general knowledge of HTTP APIs"},
	{id: "http-429", who: HTTPAPI, status: []int{429}, message: re(`^Too Many Requests$`), causes: []string{"throttled"}, certainty: probes.Likely, source: guide + "http-api-throttling"},
	{id: "http-5xx", who: HTTPAPI, status: []int{500, 502, 503, 504}, message: re(`(?i)^(Internal Server Error|Service Unavailable|Bad Gateway|Gateway Timeout|Endpoint request timed out)$`),
		causes: []string{"integration-failed", "backend-error"}, source: "general knowledge of HTTP APIs"},
	{id: "http-backend", who: HTTPAPI, status: []int{401, 403}, meets: ownWords, causes: []string{"backend-denied"}, certainty: probes.Likely, source: "general knowledge of HTTP APIs"},
	{id: "http-backend", who: HTTPAPI, meets: func(a *Answer) bool { return a.Status >= 500 && ownWords(a) }, causes: []string{"backend-error"}, certainty: probes.Likely, source: "general knowledge of HTTP APIs"},

	// Gateway responses with customized bodies: the error type alone is left.
	{id: "A", errorTypes: accessTypes, causes: accessSet, family: Named, source: guide + "supported-gateway-response-types"},
	{id: "A10", errorTypes: []string{"UnrecognizedClientException", "InvalidClientTokenId"}, causes: []string{"access-key-invalid"}, certainty: probes.Possible, source: k0},
	{id: "A11", errorTypes: []string{"ExpiredTokenException"}, causes: []string{"credentials-expired"}, certainty: probes.Possible, source: guide + "supported-gateway-response-types"},
	{id: "B", errorTypes: tokenTypes, family: MissingToken, causes: missingTokens, source: k0},
	{id: "C", errorTypes: partialTypes, family: Malformed, causes: malformedSet, source: k0},
	{id: "D", errorTypes: signatureTypes, causes: signatureSet, source: k0},
	{id: "F", errorTypes: forbiddenTypes, family: Forbidden, causes: forbiddenSet, source: k0},
	{id: "401", errorTypes: []string{"UnauthorizedException"}, causes: []string{"authorizer-unauthorized"}, certainty: probes.Likely, source: guide + "supported-gateway-response-types"},
	{id: "504", status: []int{504}, errorTypes: internalTypes, causes: []string{"integration-timeout", "integration-failed"}, source: guide + "supported-gateway-response-types"},
	{id: "502", status: []int{502}, errorTypes: internalTypes, causes: []string{"integration-failed"}, certainty: probes.Likely, source: guide + "supported-gateway-response-types"},
	{id: "5xx", errorTypes: internalTypes, causes: []string{"integration-failed", "integration-timeout", "authorizer-failed"}, source: guide + "supported-gateway-response-types"},

	// No error type is left: the backend's own answer, or a customized one.
	{id: "proxy", who: Proxy, meets: failed, causes: []string{"proxy-in-the-way"}, certainty: probes.Likely, source: k0},
	{id: "foreign", who: Unknown, meets: foreign, family: Stranger, causes: []string{"not-api-gateway", "proxy-in-the-way"}, source: k0},
	{id: "foreign", meets: foreign, causes: []string{"not-api-gateway"}, certainty: probes.Likely, source: k0},
	{id: "G1", who: Backend, status: []int{401, 403}, causes: []string{"backend-denied"}, certainty: probes.Likely, source: k0},
	{id: "backend", who: Backend, meets: func(a *Answer) bool { return a.Status >= 500 }, causes: []string{"backend-error"}, certainty: probes.Likely, source: seen},
}

// ownWords reports whether the answer has a body, and so was not made up by an
// HTTP API itself, all of whose words are known.
func ownWords(a *Answer) bool { return a.Size > 0 }

// failed counts redirects in: to a page to log in is where proxies send people.
func failed(a *Answer) bool { return a.Status >= 300 }

// fromGateway reports whether the answer bears API Gateway's marks.
func fromGateway(a *Answer) bool { return itself(a) || a.Who == Backend }

// itself reports whether API Gateway may have answered by itself.
func itself(a *Answer) bool { return a.Who == RESTAPI || a.Who == HTTPAPI }

// foreign reports whether something answered that cannot be the API. Of a
// domain with no API behind it that is known, nobody can say that.
func foreign(a *Answer) bool {
	return failed(a) && a.expectsGateway && (a.Who == LoadBalancer || a.Who == CloudFront || a.Who == Unknown)
}

// matches reports whether the answer is of this row; with textAlone, whether
// it is but for an error type that is missing or unheard of.
func (d *denial) matches(a *Answer, textAlone bool) bool {
	switch {
	case d.who != "" && d.who != a.Who,
		len(d.status) > 0 && !slices.Contains(d.status, a.Status),
		d.message != nil && !d.message().MatchString(a.Message),
		d.meets != nil && !d.meets(a):
		return false
	case len(d.errorTypes) == 0:
		return !textAlone
	case textAlone:
		return d.message != nil && a.Who == RESTAPI && !slices.ContainsFunc(denials, func(o denial) bool { return slices.Contains(o.errorTypes, a.ErrorType) })
	}
	return slices.Contains(d.errorTypes, a.ErrorType)
}

// match returns the row that the answer is, or nil.
func match(a *Answer) *denial {
	redirect := a.Status >= 300 && !fromGateway(a)
	if a.Status < 400 && a.WAFAction == "" && a.ErrorType == "" && !redirect { // a gateway response may redirect to log in
		return nil
	}
	for _, textAlone := range []bool{false, true} {
		for i := range denials {
			if !denials[i].matches(a, textAlone) {
				continue
			}
			d := denials[i]
			if textAlone && d.certainty == probes.Certain {
				d.certainty = probes.Likely // the error type is missing
			}
			return &d
		}
	}
	return nil
}

// A situation is what decides, beside the answer, which causes there may be.
type situation struct {
	*probes.Target
	via    probes.Via
	addr   netip.Addr // of who answered; not valid if nobody knows
	answer *Answer
}

// enter puts what the row means in this situation into the answer.
func (d *denial) enter(a *Answer, s situation) {
	if d == nil {
		return
	}
	a.Denial, a.Family, a.Certainty = d.id, d.family, d.certainty
	a.Causes = nil
	for _, cause := range d.causes {
		if s.admits(cause) && !(d.message == nil && s.nobody() && slices.Contains(somebody, cause)) {
			a.Causes = append(a.Causes, cause)
		}
	}
	a.byClock()
	if d.family == Forbidden && s.nameless() {
		a.Causes, a.Certainty, a.Family = []string{"host-not-recognized"}, probes.Certain, ""
		return
	}
	switch {
	case len(a.Causes) > 1:
		a.Certainty = probes.Possible
	case a.Certainty == probes.No:
		a.Certainty = probes.Likely // all but one are out of the question here
	}
}

// admits reports whether a cause is possible in the situation.
func (s situation) admits(cause string) bool {
	domain := s.via == probes.ViaDomain
	if s.via == "" && cause != "request-unsigned" {
		return true // a saved answer, of whose request nothing is known
	}
	if s.answer.Who == HTTPAPI && slices.Contains(httpSigned, cause) && s.nobody() {
		return false
	}
	switch cause {
	case "stage-not-found", "default-endpoint-disabled", "public-api-captured", "api-not-found":
		return !domain || s.answer.apiNamed // as to a load balancer before the endpoint
	case "host-not-recognized":
		return !domain || s.answer.apiNamed || !s.configured() // as such a load balancer's name, if it is passed on
	case "strict-endpoint-access":
		return s.via == probes.ViaEndpoint || domain && s.answer.apiNamed // elsewhere SNI and Host agree
	case "client-cert-distrusted":
		return domain && s.answer.CertAsked // asked for if and only if mutual TLS is on (measured)
	case "base-path-unmapped":
		return domain && !s.answer.apiNamed // which wins over the Host
	case "domain-not-associated":
		return domain && !s.answer.apiNamed && (s.configured() || !s.addr.IsValid() || resolve.MayBeEndpoint(s.addr))
	case "authorizer-denies":
		return s.answer.Family != Forbidden || s.answer.Who == HTTPAPI || s.answer.token // a JWT without the method's scope
	case "request-unsigned":
		return s.answer.Signed == nil
	case "stage-in-path":
		return domain && strings.Trim(s.answer.Path, "/") != ""
	}
	return true
}

// configured reports whether the target names the endpoint that its domain leads
// to. What ends TLS by the domain's name there is API Gateway, which knows it.
func (s situation) configured() bool {
	return s.Endpoint.ID != "" || s.Endpoint.DNSName != "" || len(s.Endpoint.Addresses) > 0
}

// somebody are the causes that only a caller who says who it is can meet. Where
// a message names the caller, it did.
var somebody = []string{"identity-policy-silent", "identity-policy-denies", "access-key-invalid"}

// nobody reports whether our own request said nothing of who sends it. Of a
// saved one that is not known: browsers leave it out.
func (s situation) nobody() bool {
	own := slices.ContainsFunc(s.Headers, func(h probes.Header) bool { return canonical(h.Name) == "Authorization" })
	return s.answer.Signed == nil && s.answer.origin.target == nil && !own
}

// nameless reports whether nothing in the request named an API: it went to the
// endpoint's own name, as if that were a domain, without x-apigw-api-id.
func (s situation) nameless() bool {
	return endpointName().MatchString(s.answer.Host) && !s.answer.apiNamed
}

var endpointName = re(`^vpce-[0-9a-f]+-[0-9a-z-]+\.execute-api\.[a-z0-9-]+\.vpce\.`)

// byClock lets the Date header decide what a customized or unproven answer
// about the signature's time leaves open.
func (a *Answer) byClock() {
	behind, known := a.Behind()
	about := slices.Contains(a.Causes, "clock-behind") || slices.Contains(a.Causes, "clock-ahead")
	if !about || !known {
		return
	}
	switch {
	case behind > window && slices.Contains(a.Causes, "clock-behind"):
		a.Causes, a.Certainty = []string{"clock-behind"}, probes.Certain
	case behind < -window && slices.Contains(a.Causes, "clock-ahead"):
		a.Causes, a.Certainty = []string{"clock-ahead"}, probes.Certain
	case len(a.Causes) > 1:
		a.Causes = slices.DeleteFunc(a.Causes, func(c string) bool { return strings.HasPrefix(c, "clock-") })
	case len(a.Causes) == 1:
		a.Certainty = probes.Possible // the message says so, the Date header does not: the request was late, or sent again
	}
}

// Causes returns every finding that the table of denials names.
func Causes() []string {
	var all []string
	for _, d := range denials {
		for _, c := range d.causes {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all
}

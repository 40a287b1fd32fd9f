package apigateway

import (
	"fmt"
	"net/http"
	"strings"
)

const invoke = "execute-api:Invoke"

// ask is the question of this call to policies, on behalf of a caller.
func (c *call) ask(caller *Principal) ask {
	return ask{
		caller: caller, action: invoke,
		resource: c.methodARN(), base: c.arn(c.apiID), keys: c.conditionKeys(caller),
	}
}

// conditionKeys fills in the request's context. aws:SourceIp does not exist
// for requests through a VPC endpoint, where aws:VpcSourceIp takes its place
// (Developer Guide, apigateway-resource-policies-aws-condition-keys).
func (c *call) conditionKeys(caller *Principal) map[string][]string {
	keys := map[string][]string{"aws:securetransport": {"true"}}
	set := func(key, value string) {
		if value != "" {
			keys[key] = []string{value}
		}
	}
	if c.conn.EndpointID != "" {
		set("aws:sourcevpce", c.conn.EndpointID)
		set("aws:sourcevpc", c.conn.VPC)
		set("aws:vpcsourceip", c.conn.SourceIP)
	} else {
		set("aws:sourceip", c.conn.SourceIP)
	}
	set("execute-api:viadomainarn", c.domainARN)
	if caller != nil {
		set("aws:principalarn", caller.principalARN())
		set("aws:principalaccount", caller.account())
		set("aws:principalorgid", caller.Organization)
	}
	return keys
}

// endpointPolicy is the VPC endpoint's: evaluated first (Developer Guide,
// apigateway-vpc-endpoint-policies), for the identity that the Authorization
// header gives. The default policy allows everything and looks at nothing.
func (c *call) endpointPolicy() *answer {
	endpoint, ok := c.state.Endpoints[c.conn.EndpointID]
	if !ok || endpoint.Policy == "" {
		return nil
	}
	p, err := parsePolicy(endpoint.Policy, ofResource)
	if err != nil {
		return modelError(fmt.Errorf("endpoint %s: %w", c.conn.EndpointID, err))
	}
	caller, a := c.endpointCaller()
	if a != nil {
		return a
	}
	asks := []ask{c.ask(caller)}
	if c.domainARN != "" { // an endpoint policy names both the domain and the API (Developer Guide, private domains)
		asks = []ask{c.domainAsk(caller), c.ask(caller)}
	}
	for _, q := range asks {
		q.base = "" // the shorthand is for resource policies
		switch p.rule(q) {
		case denies:
			return c.denied("A6", caller, q.resource, "with an explicit deny in a VPC endpoint policy")
		case silent:
			return c.denied("A5", caller, q.resource, "because no VPC endpoint policy allows the execute-api:Invoke action")
		}
	}
	return nil
}

// endpointCaller is who an endpoint policy sees: with a bearer token nobody in
// particular, or, as somebody saw (row C2), a malformed signature.
func (c *call) endpointCaller() (*Principal, *answer) {
	bearer := c.hasAuthorization() && !strings.HasPrefix(c.r.Header.Get("Authorization"), "AWS4-")
	if !bearer {
		return c.identity()
	}
	if !c.state.EndpointPolicyRefusesBearer {
		return nil, nil
	}
	_, a := c.identity()
	if a != nil {
		a.row = "C2"
	}
	return nil, a
}

// association answers a private custom domain reached through an endpoint
// without an access association: F9, UNVERIFIED.
func (c *call) association() *answer {
	if c.domain == nil || !c.domain.Private {
		return nil
	}
	for _, id := range c.domain.Associations {
		if id == c.conn.EndpointID {
			return nil
		}
	}
	return forbidden("F9")
}

func (c *call) domainAsk(caller *Principal) ask {
	q := c.ask(caller)
	q.resource, q.base = c.domainARN, c.arn("") // so that execute-api:/* covers the domain
	return q
}

// domainPolicy is a private custom domain's own; it denies by default. That
// its denials look like those of resource policies is an inference (F9).
func (c *call) domainPolicy() *answer {
	if c.domainARN == "" {
		return nil
	}
	p, err := parsePolicy(c.domain.Policy, ofResource)
	if err != nil {
		return modelError(fmt.Errorf("domain %s: %w", c.host, err))
	}
	switch q := c.domainAsk(nil); p.rule(q) {
	case denies:
		return c.denied("F9", nil, c.domainARN, "with an explicit deny in a resource-based policy")
	case silent:
		return c.denied("F9", nil, c.domainARN, "because no resource-based policy allows the execute-api:Invoke action")
	}
	return nil
}

// authorize decides by the method's authorization type. A path or method that
// does not exist is judged by the resource policy all the same: an anonymous
// caller learns that it does not exist only where policies let it.
func (c *call) authorize() *answer {
	switch {
	case c.method == nil:
		return c.authorizeNothing()
	case c.method.Auth == IAM:
		return c.authorizeIAM()
	case c.method.Auth == Lambda:
		return c.authorizeLambda()
	case c.method.Auth == Cognito:
		return c.authorizeCognito()
	}
	// A9: a policy that names a principal is silent here, as only AWS_IAM
	// looks at signatures.
	return c.resourcePolicy()
}

// authorizeNothing is for paths and methods that do not exist. There an
// Authorization header is taken for a signature (C1).
func (c *call) authorizeNothing() *answer {
	caller, a := c.identity()
	switch {
	case a != nil:
		return a
	case caller != nil:
		return c.decide(caller)
	}
	return c.resourcePolicy()
}

func (c *call) authorizeIAM() *answer {
	caller, a := c.identity()
	switch {
	case a != nil:
		return a
	case caller == nil:
		return missingToken("B1")
	}
	return c.decide(caller)
}

// resourcePolicy judges an anonymous caller: what is not allowed is denied,
// unless a public API has no policy at all.
func (c *call) resourcePolicy() *answer {
	p, err := parsePolicy(c.stage.Policy, ofResource)
	if err != nil {
		return modelError(fmt.Errorf("API %s: %w", c.apiID, err))
	}
	if p == nil && c.api.Type == Regional {
		return c.limits(nil)
	}
	switch p.rule(c.ask(nil)) {
	case denies:
		return c.explicit(nil, "A3", "a resource-based policy", "")
	case allows:
		return c.limits(nil)
	}
	return c.implicit(nil, "A4", "no resource-based policy allows", "") // and A9
}

// limits applies the resource control policy, which binds everybody.
func (c *call) limits(caller *Principal) *answer {
	if c.state.ResourceControl == nil {
		return nil
	}
	g := *c.state.ResourceControl
	g.Kind = resourceControl
	return c.guard(caller, g, false)
}

// guard applies a policy that only limits: A8. The silence of one does not
// matter to a request that is exempt.
func (c *call) guard(caller *Principal, g Guardrail, exempt bool) *answer {
	p, err := parsePolicy(g.Policy, side(g.Kind == resourceControl))
	if err != nil {
		return modelError(fmt.Errorf("guardrail: %w", err))
	}
	name := g.Kind.name()
	switch said := p.rule(c.ask(caller)); {
	case said == denies:
		return c.explicit(caller, "A8", "a "+name, g.ARN)
	case said == silent && !exempt:
		return c.implicit(caller, "A8", "no "+name+" allows", g.ARN)
	}
	return nil
}

// decide combines resource and identity policies for a signed request: in the
// same account either may allow (the Developer Guide's Table A), across
// accounts both must (Table B). A denial names one policy at a time.
func (c *call) decide(caller *Principal) *answer {
	ofAPI, err := parsePolicy(c.stage.Policy, ofResource)
	if err != nil {
		return modelError(fmt.Errorf("API %s: %w", c.apiID, err))
	}
	ofCaller, err := parsePolicy(caller.Policy, ofIdentity)
	if err != nil {
		return modelError(fmt.Errorf("principal %s: %w", caller.ARN, err))
	}
	q := c.ask(caller)
	resource, identity := ofAPI.rule(q), ofCaller.rule(q)
	switch sameAccount := caller.account() == c.state.Account; {
	case resource == denies:
		return c.explicit(caller, "A3", "a resource-based policy", "")
	case identity == denies:
		return c.explicit(caller, "A3", "an identity-based policy", "")
	case !sameAccount && resource == silent:
		return c.implicit(caller, "A4", "no resource-based policy allows", "")
	case identity == silent && !(sameAccount && resource == allows):
		return c.implicit(caller, "A7", "no identity-based policy allows", "")
	}
	return c.bound(caller, resource == allows)
}

// bound applies what only limits. A request that a resource policy grants is
// not limited by the silence of boundary and session policies (IAM User
// Guide, policy evaluation logic).
func (c *call) bound(caller *Principal, granted bool) *answer {
	if a := c.limits(caller); a != nil {
		return a
	}
	for _, g := range caller.Guardrails {
		if a := c.guard(caller, g, granted && g.Kind != ServiceControl); a != nil {
			return a
		}
	}
	return nil
}

// name is what denials call the kind (IAM User Guide, troubleshoot_access-denied).
func (k GuardrailKind) name() string {
	switch k {
	case Boundary:
		return "permissions boundary"
	case Session:
		return "session policy"
	case resourceControl:
		return "resource control policy"
	}
	return "service control policy"
}

func (c *call) explicit(caller *Principal, row, deniedIn, policyARN string) *answer {
	return c.denied(row, caller, c.methodARN(), "with an explicit deny in "+deniedIn+suffixed(policyARN))
}

func (c *call) implicit(caller *Principal, row, silence, policyARN string) *answer {
	return c.denied(row, caller, c.methodARN(), "because "+silence+" the execute-api:Invoke action"+suffixed(policyARN))
}

func suffixed(policyARN string) string {
	if policyARN == "" {
		return ""
	}
	return ": " + policyARN
}

// denied words a denial. The old texts name no policy: they say nothing after
// the resource, or "with an explicit deny".
func (c *call) denied(row string, caller *Principal, resource, why string) *answer {
	name := "anonymous"
	if caller != nil {
		name = caller.ARN
	}
	if c.state.OldMessages {
		why, _, _ = strings.Cut(why, " in a")
		if strings.HasPrefix(why, "because") {
			why = ""
		}
	}
	message := "User: " + name + " is not authorized to perform: " + invoke + " on resource: " + c.mask(resource)
	return c.accessDenied(row, strings.TrimSuffix(message+" "+why, " "), c.state.ResponsesCoverDenials)
}

// accessDenied is the authorization engine speaking: its key is "Message".
func (c *call) accessDenied(row, message string, customizable bool) *answer {
	a := &answer{
		row: row, status: http.StatusForbidden, errorType: errAccessDenied, key: "Message", message: message,
	}
	if customizable {
		a.response = AccessDenied
	}
	return a
}

// authorizeLambda: an explicit deny of the resource policy comes first, then
// the authorizer, whose policy then counts as an identity's does (Table A).
func (c *call) authorizeLambda() *answer {
	p, err := parsePolicy(c.stage.Policy, ofResource)
	if err != nil {
		return modelError(fmt.Errorf("API %s: %w", c.apiID, err))
	}
	resource := p.rule(c.ask(nil))
	if resource == denies {
		return c.explicit(nil, "A3", "a resource-based policy", "")
	}
	if !c.method.Authorizer.accepts(c.r) {
		return unauthorized()
	}
	switch verdict := c.method.Authorizer.Verdict; {
	case verdict == Unauthorized:
		return unauthorized()
	case verdict == Failed:
		// Error type and text UNVERIFIED, as are those of Misconfigured.
		return authorizerError("AuthorizerFailureException", AuthorizerFailure)
	case verdict == Misconfigured:
		return authorizerError("AuthorizerConfigurationException", AuthorizerConfigurationError)
	case verdict == DenyExplicit:
		return c.notAuthorized("A1", " with an explicit deny", " in an identity-based policy")
	case verdict == DenyNarrow && resource != allows:
		return c.notAuthorized("A2", "", " because no identity-based policy allows the execute-api:Invoke action")
	}
	return c.limits(nil)
}

func (c *call) notAuthorized(row, always, added string) *answer {
	message := "User is not authorized to access this resource" + always
	if !c.state.OldMessages {
		message += added
	}
	return c.accessDenied(row, message, true)
}

// authorizerError is a 500 whose message is null.
func authorizerError(errorType string, response ResponseType) *answer {
	return &answer{
		row: "500 authorizer", status: http.StatusInternalServerError,
		errorType: errorType, response: response, body: `{"message":null}`,
	}
}

// authorizeCognito: the token first, then the resource policy by itself; both
// must agree (Table B).
func (c *call) authorizeCognito() *answer {
	if !c.method.Authorizer.accepts(c.r) {
		return unauthorized()
	}
	return c.resourcePolicy()
}

// accepts reports whether the request has the identity source, with the token
// that is asked for.
func (a Authorizer) accepts(r *http.Request) bool {
	name := a.Header
	if name == "" {
		name = "Authorization"
	}
	sent := r.Header.Get(name)
	return sent != "" && (a.Token == "" || strings.TrimPrefix(sent, "Bearer ") == a.Token)
}

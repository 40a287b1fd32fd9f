package apigateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A policy is a policy document, for the part of the language that can decide
// about execute-api:Invoke. What it does not know it refuses to parse, so that
// nothing is ever decided by ignoring a condition.
type policy struct {
	Version    string
	ID         string          `json:"Id"`
	Statements list[statement] `json:"Statement"`
}

// A statement of a policy.
type statement struct {
	Sid          string
	Effect       string
	Principal    *principals
	NotPrincipal *principals
	Action       list[string]
	NotAction    list[string]
	Resource     list[string]
	NotResource  list[string]
	Condition    map[string]map[string]list[text] // operator, key, values
}

// A list is what JSON policies write as one element or several.
type list[T any] []T

func (l *list[T]) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return strictly(b, (*[]T)(l))
	}
	var one T
	if err := strictly(b, &one); err != nil {
		return err
	}
	*l = list[T]{one}
	return nil
}

// A text is a condition's value, which may be a JSON boolean.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	if s := string(b); s == "true" || s == "false" {
		*t = text(s)
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}

// principals is a Principal element.
type principals struct {
	Everyone  bool
	AWS       list[string]
	Service   list[string]
	Federated list[string]
}

func (p *principals) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		if s != "*" {
			return fmt.Errorf("principal %q: only \"*\" may stand alone", s)
		}
		p.Everyone = true
		return nil
	}
	var named struct{ AWS, Service, Federated list[string] }
	if err := strictly(b, &named); err != nil {
		return err
	}
	p.AWS, p.Service, p.Federated = named.AWS, named.Service, named.Federated
	return nil
}

// strictly decodes JSON and refuses unknown fields.
func strictly(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// A side is what a policy is attached to: it says whether statements name
// principals.
type side bool

const (
	ofIdentity side = false
	ofResource side = true
)

// parsePolicy reads a policy document; the empty text is no policy.
func parsePolicy(document string, attached side) (*policy, error) {
	if document == "" {
		return nil, nil
	}
	if !json.Valid([]byte(document)) {
		return nil, errors.New("policy: not JSON")
	}
	var p policy
	if err := strictly([]byte(document), &p); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	for i, s := range p.Statements {
		err := s.check()
		if named := s.Principal != nil || s.NotPrincipal != nil; err == nil && named != bool(attached) {
			err = errors.New("names principals if and only if the policy is a resource's")
		}
		if err != nil {
			return nil, fmt.Errorf("policy: statement %d: %w", i+1, err)
		}
	}
	return &p, nil
}

func (s statement) check() error {
	switch {
	case s.Effect != "Allow" && s.Effect != "Deny":
		return fmt.Errorf("effect %q", s.Effect)
	case (len(s.Action) == 0) == (len(s.NotAction) == 0):
		return errors.New("needs one of Action and NotAction")
	case (len(s.Resource) == 0) == (len(s.NotResource) == 0):
		return errors.New("needs one of Resource and NotResource")
	case s.Principal != nil && s.NotPrincipal != nil:
		return errors.New("has both Principal and NotPrincipal")
	}
	for operator, keys := range s.Condition {
		op, err := parseOperator(operator)
		if err != nil {
			return err
		}
		for key, values := range keys {
			if err := op.check(key, values); err != nil {
				return err
			}
		}
	}
	return nil
}

// An ask is what a policy is asked about.
type ask struct {
	caller   *Principal // nil for an anonymous one
	action   string
	resource string
	base     string              // what "execute-api:" in a shorthand resource stands for
	keys     map[string][]string // the condition keys of the request, in lower case
}

// A ruling is what a policy says to an ask.
type ruling int

// The rulings.
const (
	silent   ruling = iota // neither allows nor denies
	allows                 // to the caller
	entrusts               // to the caller's account, whose own policies must agree
	denies
)

// rule evaluates a policy; a nil one is silent.
func (p *policy) rule(q ask) ruling {
	if p == nil {
		return silent
	}
	verdict := silent
	for _, s := range p.Statements {
		toCaller, toAccount := s.names(q.caller)
		if !toCaller && !toAccount || !s.covers(q) {
			continue
		}
		switch {
		case s.Effect == "Deny":
			return denies
		case toCaller:
			verdict = allows
		case verdict == silent:
			verdict = entrusts
		}
	}
	return verdict
}

// names reports whether the statement is about the caller, or its account. A
// statement without a principal is an identity's own.
func (s statement) names(caller *Principal) (itself, account bool) {
	switch {
	case s.Principal != nil:
		return s.Principal.match(caller)
	case s.NotPrincipal != nil:
		itself, account = s.NotPrincipal.match(caller)
		return !itself && !account, false
	}
	return true, false
}

func (p *principals) match(caller *Principal) (itself, account bool) {
	if p.Everyone || slices.Contains(p.AWS, "*") {
		return true, false
	}
	if caller == nil {
		return false, false
	}
	for _, named := range p.AWS {
		switch named {
		case caller.ARN, caller.principalARN():
			return true, false
		case caller.account(), "arn:" + caller.partition() + ":iam::" + caller.account() + ":root":
			account = true
		}
	}
	return false, account
}

// covers reports whether action, resource and conditions fit.
func (s statement) covers(q ask) bool {
	action := func(pattern string) bool { return glob(strings.ToLower(pattern), strings.ToLower(q.action)) }
	resource := func(pattern string) bool { return glob(q.expand(pattern), q.resource) }
	switch {
	case len(s.Action) > 0 && !slices.ContainsFunc(s.Action, action),
		len(s.NotAction) > 0 && slices.ContainsFunc(s.NotAction, action),
		len(s.Resource) > 0 && !slices.ContainsFunc(s.Resource, resource),
		len(s.NotResource) > 0 && slices.ContainsFunc(s.NotResource, resource):
		return false
	}
	for operator, keys := range s.Condition {
		op, err := parseOperator(operator)
		if err != nil {
			return false // cannot be: check has parsed it
		}
		for key, values := range keys {
			if !op.holds(q.keys[strings.ToLower(key)], values) {
				return false
			}
		}
	}
	return true
}

// expand turns the shorthand execute-api:/stage/METHOD/path of resource
// policies into an ARN pattern. Without a base it fits nothing.
func (q ask) expand(pattern string) string {
	if rest, ok := strings.CutPrefix(pattern, "execute-api:/"); ok {
		return q.base + "/" + rest
	}
	return pattern
}

// An operator is a condition operator, taken apart.
type operator struct {
	name     string // StringLike, with Not taken out
	not      bool
	ifExists bool
	set      string // ForAnyValue, ForAllValues or ""
}

func parseOperator(s string) (operator, error) {
	var op operator
	op.name = s
	if set, rest, ok := strings.Cut(s, ":"); ok {
		if set != "ForAnyValue" && set != "ForAllValues" {
			return op, fmt.Errorf("condition operator %q", s)
		}
		op.set, op.name = set, rest
	}
	op.name, op.ifExists = strings.CutSuffix(op.name, "IfExists")
	if strings.Contains(op.name, "Not") {
		op.name, op.not = strings.Replace(op.name, "Not", "", 1), true
	}
	known := []string{"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike", "IpAddress"}
	switch {
	case slices.Contains(known, op.name):
		return op, nil
	case op.name == "Bool" && !op.not:
		return op, nil
	case op.name == "Null" && !op.not && !op.ifExists && op.set == "":
		return op, nil
	}
	return op, fmt.Errorf("condition operator %q", s)
}

// conditionKeys are those that the model can fill in.
func conditionKeys() []string {
	return []string{
		"aws:sourcevpce", "aws:sourcevpc", "aws:vpcsourceip", "aws:sourceip", "aws:principalarn",
		"aws:principalaccount", "aws:principalorgid", "execute-api:viadomainarn", "aws:securetransport",
	}
}

func (op operator) check(key string, values []text) error {
	if !slices.Contains(conditionKeys(), strings.ToLower(key)) {
		return fmt.Errorf("condition key %q", key)
	}
	for _, v := range values {
		if strings.Contains(string(v), "${") {
			return fmt.Errorf("condition value %q: variables are not modeled", v)
		}
		if op.name != "IpAddress" {
			continue
		}
		if _, err := parseNetwork(string(v)); err != nil {
			return err
		}
	}
	return nil
}

// holds evaluates one condition on the values that a key has in the request.
// A key that is absent fails a condition, but fulfills a negated one, one with
// IfExists and ForAllValues (IAM User Guide, reference_policies_elements_condition_operators).
func (op operator) holds(have []string, want []text) bool {
	present := len(have) > 0
	if op.name == "Null" {
		return slices.ContainsFunc(want, func(w text) bool { return (w == "true") != present })
	}
	if !present {
		switch op.set {
		case "ForAnyValue":
			return op.ifExists
		case "ForAllValues":
			return true
		}
		return op.not || op.ifExists
	}
	fits := func(h string) bool {
		return op.not != slices.ContainsFunc(want, func(w text) bool { return op.compare(string(w), h) })
	}
	if op.set == "ForAnyValue" {
		return slices.ContainsFunc(have, fits)
	}
	return !slices.ContainsFunc(have, func(h string) bool { return !fits(h) })
}

func (op operator) compare(want, have string) bool {
	switch op.name {
	case "StringEquals":
		return want == have
	case "StringEqualsIgnoreCase", "Bool":
		return strings.EqualFold(want, have)
	case "StringLike":
		return glob(want, have)
	case "ArnEquals", "ArnLike": // the two behave alike
		return globARN(want, have)
	}
	network, err := parseNetwork(want)
	addr, err2 := netip.ParseAddr(have)
	return err == nil && err2 == nil && network.Contains(addr.Unmap())
}

// parseNetwork reads an address or a CIDR.
func parseNetwork(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		return netip.PrefixFrom(addr, addr.BitLen()), err
	}
	return netip.ParsePrefix(s)
}

// globARN matches each of an ARN's six parts by itself.
func globARN(pattern, arn string) bool {
	p, a := strings.SplitN(pattern, ":", 6), strings.SplitN(arn, ":", 6)
	if len(p) != 6 || len(a) != 6 {
		return pattern == "*"
	}
	for i := range p {
		if !glob(p[i], a[i]) {
			return false
		}
	}
	return true
}

// glob matches * (any run, slashes included) and ? (one byte).
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// principalARN is aws:PrincipalArn: a session's role, without the session.
func (p *Principal) principalARN() string {
	if p.RoleARN != "" {
		return p.RoleARN
	}
	parts := strings.SplitN(p.ARN, ":", 6)
	if len(parts) != 6 || parts[2] != "sts" {
		return p.ARN
	}
	role, ok := strings.CutPrefix(parts[5], "assumed-role/")
	if !ok {
		return p.ARN
	}
	role, _, _ = strings.Cut(role, "/")
	return "arn:" + parts[1] + ":iam::" + parts[4] + ":role/" + role
}

func (p *Principal) account() string   { return p.arnPart(4) }
func (p *Principal) partition() string { return p.arnPart(1) }

func (p *Principal) arnPart(i int) string {
	parts := strings.SplitN(p.ARN, ":", 6)
	if len(parts) != 6 {
		return ""
	}
	return parts[i]
}

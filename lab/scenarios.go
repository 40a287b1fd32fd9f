package lab

import (
	"slices"
	"time"

	"vpcprobe/lab/apigateway"
	"vpcprobe/probes"
)

// A Scenario is one thing that is wrong, and the truth about it: with the lab
// broken and the target edited, the findings about the target are exactly
// those wanted, no more and no less.
type Scenario struct {
	ID    string // unique, kebab-case; usually the finding's
	Layer string // the kind that sees it: resolve, connect, identify, handshake, invoke
	Title string // what is wrong, in a line without a full stop

	Target string               // the name of the target it concerns
	Break  Fault                // nil if nothing of the lab is broken
	Edit   func(*probes.Target) // misconfigures the caller, on a copy of the target; nil if it is right

	// Want are the ids of the findings, sorted. Causes that cannot be told
	// apart from the wire are all there; none means that this is no fault.
	Want []string

	Tour bool // whether it is part of the tour that `vpcprobe lab` makes
}

// Scenarios returns them all, lowest layer first.
func Scenarios() []Scenario {
	var all []Scenario
	for _, layer := range []struct {
		name      string
		scenarios []Scenario
	}{
		{"resolve", resolveScenarios()},
		{"connect", connectScenarios()},
		{"identify", identifyScenarios()},
		{"handshake", handshakeScenarios()},
		{"invoke", slices.Concat(policyScenarios(), callerScenarios(), routeScenarios(), backendScenarios(), answerScenarios())},
	} {
		for _, s := range layer.scenarios {
			s.Layer = layer.name
			all = append(all, s)
		}
	}
	return all
}

// finds is Want, without the ceremony.
func finds(ids ...string) []string {
	slices.Sort(ids)
	return ids
}

func resolveScenarios() []Scenario {
	return []Scenario{
		{ID: "private-dns-off", Title: "private DNS is off for the endpoint", Target: "orders", Break: PrivateDNSOff, Want: finds("private-dns-off"), Tour: true},
		// That a gateway answers at the public address, and refuses, explains nothing of the endpoint.
		{ID: "private-dns-off-answered", Title: "private DNS is off, and the public address answers Forbidden", Target: "orders", Break: Faults(PrivateDNSOff, PublicGateway), Want: finds("private-dns-off")},
		{ID: "private-dns-off-system", Title: "private DNS is off, seen through resolv.conf", Target: "billing", Break: PrivateDNSOff, Want: finds("private-dns-off")},
		{ID: "name-not-found", Title: "the resolvers do not know the private names", Target: "orders", Break: NameGone, Want: finds("name-not-found"), Tour: true},
		{ID: "name-not-found-domain", Title: "the private custom domain has no record", Target: "catalog", Break: DomainGone, Want: finds("name-not-found")},
		{ID: "name-without-address", Title: "the API's name has no address", Target: "orders", Break: NameWithoutAddress, Want: finds("name-without-address")},
		{ID: "name-without-address-family", Title: "the caller uses IPv6 only, and no name has AAAA records", Target: "orders", Edit: onlyIPv6, Want: finds("name-without-address")},
		{ID: "resolver-silent", Title: "the resolvers do not answer", Target: "orders", Break: ResolverSilent(), Want: finds("resolver-silent"), Tour: true},
		{ID: "resolver-silent-one", Title: "one of two resolvers does not answer", Target: "orders", Break: ResolverSilent(1), Want: finds("resolver-silent")},
		{ID: "resolver-silent-system", Title: "the resolver of resolv.conf does not answer", Target: "billing", Break: ResolverSilent(0), Want: finds("resolver-silent")},
		{ID: "resolver-unreachable", Title: "there is no way to the resolver", Target: "billing", Break: ResolverNoRoute, Want: finds("resolver-unreachable")},
		{ID: "resolver-failing", Title: "a resolver answers SERVFAIL", Target: "orders", Break: ResolverServFail(0), Want: finds("resolver-failing"), Tour: true},
		{ID: "resolver-refuses", Title: "a resolver answers REFUSED", Target: "orders", Break: ResolverRefuses(0), Want: finds("resolver-refuses")},
		{ID: "resolver-tcp-blocked", Title: "a resolver truncates over UDP and is silent over TCP", Target: "orders", Break: ResolverTruncatesWithoutTCP(0), Want: finds("resolver-tcp-blocked")},
		{ID: "resolver-truncates", Title: "a resolver truncates over UDP and answers over TCP, which is no fault", Target: "orders", Break: ResolverTruncates(), Want: finds()},
		{ID: "resolver-bad-reply-noise", Title: "a resolver answers with noise", Target: "orders", Break: ResolverBabbles(0), Want: finds("resolver-bad-reply")},
		{ID: "resolver-bad-reply-id", Title: "a resolver answers with wrong ids", Target: "orders", Break: ResolverMistakesID(0), Want: finds("resolver-bad-reply")},
		{ID: "resolver-bad-reply-question", Title: "a resolver answers other questions", Target: "orders", Break: ResolverMistakesQuestion(0), Want: finds("resolver-bad-reply")},
		{ID: "resolver-bad-reply-loop", Title: "a resolver answers with a compression loop", Target: "orders", Break: ResolverLoops(0), Want: finds("resolver-bad-reply")},
		{ID: "one-family-failing", Title: "a resolver answers for IPv4 and fails for IPv6", Target: "orders", Break: ResolverFailsIPv6(0), Want: finds("one-family-failing")},
		{ID: "nameserver-failing", Title: "the first nameserver of resolv.conf fails", Target: "billing", Break: FirstNameserverFailing, Want: finds("nameserver-failing")},
		{ID: "resolvers-disagree", Title: "the second resolver has stale addresses", Target: "orders", Break: SecondResolverStale, Want: finds("resolvers-disagree"), Tour: true},
		{ID: "wrong-addresses", Title: "the API's name leads to another VPC's endpoint", Target: "orders", Break: WrongAddresses, Want: finds("wrong-addresses"), Tour: true},
		{ID: "wrong-addresses-domain", Title: "the private custom domain leads to another VPC's endpoint", Target: "catalog", Break: DomainElsewhere, Want: finds("wrong-addresses")},
		{ID: "names-disagree", Title: "the API's name leads to another endpoint, whose addresses nobody configured", Target: "orders", Break: WrongAddresses, Edit: withoutAddresses, Want: finds("names-disagree")},
		{ID: "missing-address", Title: "the API's name leads to two of three interfaces, which is no fault", Target: "orders", Break: MissingAddress, Want: finds()},
		{ID: "answers-rotate", Title: "the resolvers answer with one address at a time, which is no fault", Target: "orders", Break: ResolverRotates(), Edit: withoutAddresses, Want: finds()},
		{ID: "names-disagree-rotating", Title: "the API's name leads to another endpoint, and answers show one address at a time", Target: "orders", Break: Faults(WrongAddresses, ResolverRotates()), Edit: withoutAddresses, Want: finds("names-disagree")},
		{ID: "addresses-outdated", Title: "the configuration lacks one of the endpoint's addresses", Target: "orders", Edit: twoAddresses, Want: finds("addresses-outdated")},
		{ID: "alias-not-associated", Title: "the endpoint is not associated with the API", Target: "orders", Break: AliasNotAssociated, Want: finds("alias-not-associated"), Tour: true},
		{ID: "endpoint-not-found", Title: "the endpoint was deleted, and its private names are left in a cache", Target: "orders", Break: EndpointDeleted, Want: finds("endpoint-not-found"), Tour: true},
		{ID: "hosts-override", Title: "the hosts file has an old address for the API's name", Target: "billing", Break: HostsOverride, Want: finds("hosts-override"), Tour: true},
		{ID: "region-mismatch", Title: "the API's region is not the endpoint's", Target: "orders", Edit: inRegion(OtherRegion), Want: finds("region-mismatch"), Tour: true},
		{ID: "region-mismatch-endpoint", Title: "the endpoint is one of another region", Target: "orders", Edit: farEndpoint, Want: finds("region-mismatch")},
	}
}

func connectScenarios() []Scenario {
	return []Scenario{
		{ID: "traffic-dropped", Title: "a security group drops everything on the way to the endpoint", Target: "orders", Break: SecurityGroup, Want: finds("traffic-dropped"), Tour: true},
		{ID: "traffic-dropped-domain", Title: "everything on the way to the Regional domain is dropped", Target: "partners", Break: PartnersDropped, Want: finds("traffic-dropped")},
		{ID: "subnet-dropped", Title: "a network ACL drops everything on the way to one subnet", Target: "orders", Break: Subnet(1), Want: finds("subnet-dropped"), Tour: true},
		{ID: "subnet-dropped-two", Title: "only one of three subnets can be reached", Target: "billing", Break: Faults(Subnet(0), Subnet(2)), Want: finds("subnet-dropped")},
		{ID: "connection-refused", Title: "nothing listens at the endpoint's addresses", Target: "orders", Break: Refused, Want: finds("connection-refused"), Tour: true},
		{ID: "connection-reset", Title: "connections are reset in the moment they stand", Target: "billing", Break: ConnectionReset, Want: finds("connection-reset"), Tour: true},
		{ID: "connection-intermittent", Title: "every second attempt to connect to one address is swallowed", Target: "orders", Break: Flaky(1), Want: finds("connection-intermittent")},
		{ID: "no-route", Title: "there is no route to the endpoint", Target: "billing", Break: NoRoute, Want: finds("no-route"), Tour: true},
		{ID: "traffic-prohibited", Title: "a policy of the host or a router forbids the way to the endpoint", Target: "billing", Break: Prohibited, Want: finds("traffic-prohibited"), Tour: true},
	}
}

func identifyScenarios() []Scenario {
	expired := finds("api-key-rejected", "base-path-unmapped", "client-cert-distrusted", "client-cert-expired", "host-not-recognized", "waf-blocked")
	return []Scenario{
		{ID: "client-cert-key-mismatch", Title: "the key on disk is another certificate's", Target: "partners", Break: ClientKeyMismatch, Want: finds("client-cert-key-mismatch"), Tour: true},
		// Whether API Gateway looks at the validity is not known (FACTS.md 3.1), so what else is Forbidden remains possible.
		{ID: "client-cert-expired", Title: "the client certificate has expired, and API Gateway minds", Target: "partners", Break: ClientExpired, Want: expired, Tour: true},
		{ID: "client-cert-expired-unmapped", Title: "the client certificate has expired, which API Gateway does not mind, and the domain is mapped to no API", Target: "partners", Break: Faults(ClientExpired, ExpiryIgnored, BasePathUnmapped), Want: expired},
		{ID: "client-cert-expired-accepted", Title: "the client certificate has expired, and API Gateway does not mind", Target: "partners", Break: Faults(ClientExpired, ExpiryIgnored), Want: finds("client-cert-expired-accepted")},
		{ID: "client-cert-unreadable", Title: "the client certificate's file is no certificate", Target: "partners", Break: ClientScrambled, Want: finds("client-cert-unreadable")},
		{ID: "client-cert-no-client-auth", Title: "the client certificate is one for servers", Target: "partners", Break: ClientForServers, Want: finds("client-cert-no-client-auth")},
		{ID: "client-cert-expiring", Title: "the client certificate ends in five days", Target: "partners", Break: ClientExpiring, Want: finds("client-cert-expiring")},
		{ID: "client-cert-weak-signature", Title: "the client certificate has a SHA-1 signature", Target: "partners", Break: ClientSHA1, Want: finds("client-cert-weak")},
		{ID: "client-cert-weak-key", Title: "the client certificate's key has 1,024 bits", Target: "partners", Break: ClientRSA1024, Want: finds("client-cert-weak")},
		{ID: "client-cert-self-signed", Title: "the client certificate is self-signed and not in the truststore", Target: "partners", Break: ClientSelfSigned, Want: finds("client-cert-self-signed"), Tour: true},
		{ID: "client-cert-altered", Title: "the client certificate differs from its copy in the truststore", Target: "partners", Break: ClientAltered, Want: finds("client-cert-altered")},
		{ID: "client-cert-untrusted", Title: "the client certificate's issuer is not in the truststore", Target: "partners", Break: ClientUntrusted, Want: finds("client-cert-untrusted"), Tour: true},
		{ID: "truststore-chain-incomplete", Title: "the truststore lacks the intermediate", Target: "partners", Break: TruststoreIncomplete, Want: finds("truststore-chain-incomplete"), Tour: true},
		{ID: "truststore-chain-too-long", Title: "the chain has five authorities", Target: "partners", Break: TruststoreChainTooLong, Want: finds("truststore-chain-too-long")},
		{ID: "truststore-invalid-cert", Title: "a certificate of the truststore does not parse", Target: "partners", Break: TruststoreBroken, Want: finds("truststore-invalid-cert")},
		{ID: "truststore-invalid-cert-text", Title: "the copy of the truststore is no bundle", Target: "partners", Break: TruststoreScrambled, Want: finds("truststore-invalid-cert")},
		{ID: "truststore-subject-conflict", Title: "two issuers vouch for one subject in the truststore", Target: "partners", Break: TruststoreConflict, Want: finds("truststore-subject-conflict")},
		{ID: "truststore-weak-cert", Title: "the client's issuer has a SHA-1 signature itself", Target: "partners", Break: TruststoreWeak, Want: finds("truststore-weak-cert")},
		{ID: "truststore-warnings", Title: "another authority in the truststore has a SHA-1 signature", Target: "partners", Break: TruststoreWeakElsewhere, Want: finds("truststore-warnings")},
		{ID: "truststore-unreadable", Title: "the copy of the truststore is not there", Target: "partners", Edit: lostTruststore, Want: finds("truststore-unreadable")},
		{ID: "truststore-copy-differs", Title: "the domain trusts the client's issuer, and the copy of its truststore is an old one", Target: "partners", Break: TruststoreOutdated, Want: finds("truststore-copy-differs")},
		{ID: "truststore-too-large", Title: "the truststore has more than 1,000 certificates", Target: "partners", Break: TruststoreLarge, Want: finds("truststore-too-large")},
	}
}

func handshakeScenarios() []Scenario {
	return []Scenario{
		{ID: "server-cert-untrusted", Title: "the endpoint's certificate is of an unknown authority", Target: "orders", Break: CertificateUntrusted, Want: finds("server-cert-untrusted"), Tour: true},
		{ID: "server-cert-untrusted-proxy", Title: "a proxy intercepts TLS, with an authority that is not trusted", Target: "billing", Break: InterceptedTLS, Want: finds("server-cert-untrusted")},
		{ID: "server-cert-expired", Title: "the endpoint's certificate has expired", Target: "orders", Break: CertificateExpired, Want: finds("server-cert-expired"), Tour: true},
		{ID: "server-cert-expiring", Title: "the endpoint's certificate ends in five days", Target: "orders", Break: CertificateExpiring, Want: finds("server-cert-expiring"), Tour: true},
		{ID: "server-cert-wrong-name", Title: "the endpoint's certificate is for another name", Target: "orders", Break: CertificateWrongName, Want: finds("server-cert-wrong-name"), Tour: true},
		{ID: "server-cert-wrong-name-default", Title: "the Regional domain is not known where its name leads", Target: "partners", Break: PartnersWildcard, Want: finds("server-cert-wrong-name")},
		{ID: "tls-version-refused", Title: "the endpoint speaks TLS 1.1 at most", Target: "billing", Break: OldTLS, Want: finds("tls-version-refused"), Tour: true},
		{ID: "tls-1.2-only", Title: "the endpoint speaks TLS 1.2 only, which is no fault", Target: "orders", Break: OnlyTLS12, Want: finds()},
		{ID: "tls-not-spoken", Title: "something speaks HTTP without TLS on the endpoint's port", Target: "billing", Break: Misbehave(ClearHTTP), Want: finds("tls-not-spoken"), Tour: true},
		{ID: "tls-not-spoken-ssh", Title: "an SSH server listens on the endpoint's port", Target: "billing", Break: Misbehave(Banner), Want: finds("tls-not-spoken")},
		{ID: "tls-not-spoken-noise", Title: "noise comes from the endpoint's port", Target: "billing", Break: Misbehave(Garbage), Want: finds("tls-not-spoken")},
		{ID: "connection-cut-at-once", Title: "connections are reset a moment after they stand", Target: "billing", Break: Misbehave(AcceptReset), Want: finds("connection-cut")},
		{ID: "connection-cut-in-order", Title: "connections are closed a moment after they stand", Target: "billing", Break: Misbehave(HangUp), Want: finds("connection-cut")},
		{ID: "connection-cut", Title: "the connection is reset at the client hello", Target: "billing", Break: Misbehave(ResetOnData), Want: finds("connection-cut")},
		{ID: "handshake-stalled", Title: "connections are accepted, and nothing ever answers on them", Target: "billing", Break: Misbehave(Silence), Want: finds("handshake-stalled")},
		{ID: "connection-cut-half-closed", Title: "the other direction is closed at once", Target: "billing", Break: Misbehave(HalfClose), Want: finds("connection-cut")},
		{ID: "handshake-broken", Title: "something alters the handshake on its way", Target: "billing", Break: HandshakeAltered, Want: finds("handshake-broken")},
		{ID: "handshake-refused", Title: "the endpoint refuses every handshake", Target: "billing", Break: HandshakeRefused, Want: finds("handshake-refused")},
		{ID: "client-cert-required", Title: "the domain asks for a client certificate, and the caller has none", Target: "partners", Edit: withoutClientCertificate, Want: finds("client-cert-required"), Tour: true},
		{ID: "client-cert-required-tls-1.3", Title: "the same in TLS 1.3, where the handshake seems to go well", Target: "partners", Break: MutualTLS13, Edit: withoutClientCertificate, Want: finds("client-cert-required")},
		{ID: "client-cert-required-alert", Title: "a verifier answers a missing client certificate with an alert", Target: "partners", Break: MutualTLSByVerifier, Edit: withoutClientCertificate, Want: finds("client-cert-required")},
		{ID: "client-cert-required-balancer", Title: "a load balancer answers a missing client certificate with a reset", Target: "partners", Break: MutualTLSByBalancer, Edit: withoutClientCertificate, Want: finds("client-cert-required")},
		{ID: "client-cert-rejected", Title: "a verifier trusts other authorities, and sends an alert", Target: "partners", Break: Faults(MutualTLSByVerifier, OtherTruststore), Want: finds("client-cert-rejected"), Tour: true},
		{ID: "client-cert-rejected-tls-1.3", Title: "the same in TLS 1.3", Target: "partners", Break: Faults(MutualTLSByVerifier, OtherTruststore, MutualTLS13), Want: finds("client-cert-rejected")},
		{ID: "client-cert-rejected-balancer", Title: "a load balancer trusts other authorities, and resets", Target: "partners", Break: Faults(MutualTLSByBalancer, OtherTruststore), Want: finds("client-cert-rejected")},
		{ID: "client-cert-not-asked", Title: "mutual TLS is off at the domain", Target: "partners", Break: MutualTLSOff, Want: finds("client-cert-not-asked"), Tour: true},
		{ID: "mutual-tls-1.3", Title: "mutual TLS in TLS 1.3, which is no fault", Target: "partners", Break: MutualTLS13, Want: finds()},
		{ID: "mutual-tls-names-authorities", Title: "mutual TLS with a list of authorities, which is no fault", Target: "partners", Break: MutualTLSNamesCAs, Want: finds()},
		{ID: "strict-endpoint-access", Title: "the API's endpoint access mode is STRICT", Target: "orders", Break: StrictAccess, Want: finds("strict-endpoint-access"), Tour: true},
	}
}

func policyScenarios() []Scenario {
	// An anonymous caller whom no statement allows: whether the policy forgets
	// this endpoint or names principals, whom API Gateway does not see in an
	// unsigned request (A4, A9), reads the same.
	anonymous := finds("caller-anonymous", "resource-policy-silent")
	return []Scenario{
		{ID: "resource-policy-silent", Title: "the resource policy allows another endpoint only", Target: "billing", Break: ResourcePolicySilent, Want: anonymous, Tour: true},
		{ID: "resource-policy-silent-old", Title: "the same, in the texts of before 2025, which name no policy", Target: "billing", Break: Faults(OldMessages, ResourcePolicySilent), Want: finds("caller-anonymous", "endpoint-policy-silent", "resource-policy-silent")},
		{ID: "caller-anonymous", Title: "the resource policy names a role, and the method's authorization is not AWS_IAM", Target: "billing", Break: ResourcePolicyForRole, Want: anonymous},
		{ID: "resource-policy-denies", Title: "the resource policy denies", Target: "orders", Break: ResourcePolicyDenies, Want: finds("resource-policy-denies"), Tour: true},
		{ID: "endpoint-policy-silent", Title: "the endpoint's policy allows other APIs only", Target: "orders", Break: EndpointPolicySilent, Want: finds("endpoint-policy-silent"), Tour: true},
		{ID: "endpoint-policy-denies", Title: "the endpoint's policy denies", Target: "orders", Break: EndpointPolicyDenies, Want: finds("endpoint-policy-denies"), Tour: true},
		{ID: "identity-policy-silent", Title: "neither the caller's policies nor the resource policy allow the call", Target: "orders", Break: IdentityPolicySilent, Want: finds("identity-policy-silent"), Tour: true},
		{ID: "identity-policy-denies", Title: "the caller's policy denies", Target: "orders", Break: IdentityPolicyDenies, Want: finds("identity-policy-denies"), Tour: true},
		{ID: "organization-policy-denies", Title: "a service control policy denies", Target: "orders", Break: OrganizationDenies, Want: finds("organization-policy-denies"), Tour: true},
		{ID: "organization-policy-denies-resources", Title: "a resource control policy denies", Target: "orders", Break: ResourceControlDenies, Want: finds("organization-policy-denies")},
		{ID: "organization-policy-denies-boundary", Title: "the caller's permissions boundary does not allow the call", Target: "orders", Break: Faults(ResourcePolicySilent, BoundarySilent), Want: finds("organization-policy-denies")},
		{ID: "organization-policy-denies-session", Title: "the caller's session policy does not allow the call", Target: "orders", Break: Faults(ResourcePolicySilent, SessionSilent), Want: finds("organization-policy-denies")},
		{ID: "authorizer-denies", Title: "the authorizer's policy denies", Target: "billing", Break: Authorizer(apigateway.DenyExplicit), Edit: guarded, Want: finds("authorizer-denies"), Tour: true},
		{ID: "authorizer-policy-narrow", Title: "the authorizer's cached policy does not cover the path", Target: "billing", Break: AuthorizerNarrow, Edit: guarded, Want: finds("authorizer-policy-narrow"), Tour: true},
		{ID: "authorizer-unauthorized", Title: "the caller sends no token to the authorizer", Target: "billing", Edit: at("/guarded"), Want: finds("authorizer-unauthorized"), Tour: true},
		{ID: "authorizer-unauthorized-pool", Title: "the caller sends no token to the user pool", Target: "billing", Edit: at("/pool"), Want: finds("authorizer-unauthorized")},
		{ID: "authorizer-failed", Title: "the authorizer function fails", Target: "billing", Break: Authorizer(apigateway.Failed), Edit: guarded, Want: finds("authorizer-failed"), Tour: true},
		{ID: "authorizer-failed-configuration", Title: "API Gateway may not call the authorizer", Target: "billing", Break: Authorizer(apigateway.Misconfigured), Edit: guarded, Want: finds("authorizer-failed")},
	}
}

func callerScenarios() []Scenario {
	return []Scenario{
		{ID: "access-key-invalid", Title: "AWS does not know the access key", Target: "orders", Break: AccessKeyUnknown, Want: finds("access-key-invalid"), Tour: true},
		{ID: "credentials-expired", Title: "the caller's temporary credentials have expired", Target: "orders", Break: CredentialsExpired, Want: finds("credentials-expired"), Tour: true},
		{ID: "credentials-missing", Title: "the instance has no role", Target: "orders", Break: NoCredentials, Want: finds("credentials-missing"), Tour: true},
		{ID: "credentials-missing-silent", Title: "the instance metadata service does not answer the container", Target: "orders", Break: CredentialsSilent, Want: finds("credentials-missing")},
		{ID: "clock-behind", Title: "the caller's clock is ten minutes slow", Target: "orders", Break: ClockBehind, Want: finds("clock-behind"), Tour: true},
		{ID: "clock-ahead", Title: "the caller's clock is ten minutes fast", Target: "orders", Break: ClockAhead, Want: finds("clock-ahead"), Tour: true},
		{ID: "signature-mismatch", Title: "the caller's secret key is wrong", Target: "orders", Break: SecretWrong, Want: finds("signature-mismatch"), Tour: true},
		{ID: "signing-scope-wrong", Title: "the caller signs for another region", Target: "catalog", Edit: inRegion(OtherRegion), Want: finds("signing-scope-wrong"), Tour: true},
		// Whether a path does not exist, has no such method, was not deployed or
		// wants a signature: API Gateway says the same of all (B1, B2, B3, B5).
		{ID: "request-unsigned", Title: "the caller does not sign, and the method wants it", Target: "orders", Edit: unsigned, Want: finds("method-not-found", "not-redeployed", "path-not-found", "request-unsigned"), Tour: true},
		// The same is said where the path or method is missing (C1).
		{ID: "authorization-malformed", Title: "a bearer token is sent where a signature is expected", Target: "orders", Edit: bearerInsteadOfSignature, Want: finds("authorization-malformed", "method-not-found", "not-redeployed", "path-not-found"), Tour: true},
		{ID: "api-key-rejected", Title: "the API key is disabled", Target: "billing", Break: APIKeyDisabled, Want: finds("api-key-rejected", "waf-blocked"), Tour: true},
		{ID: "api-key-rejected-plan", Title: "the API key's usage plan does not hold the stage", Target: "billing", Break: APIKeyUnplanned, Want: finds("api-key-rejected", "waf-blocked")},
		{ID: "secret-missing", Title: "the file with the API key is not there", Target: "billing", Edit: lostAPIKey, Want: finds("secret-missing")},
		{ID: "api-key-rejected-missing", Title: "the caller sends no API key", Target: "billing", Edit: withoutAPIKey, Want: finds("api-key-rejected", "waf-blocked")},
		// Nothing answers otherwise without a key, so nothing tells a missing key
		// from a stage that is not there.
		{ID: "api-key-rejected-everywhere", Title: "every path requires an API key, and the caller sends none", Target: "billing", Break: KeyEverywhere, Edit: withoutAPIKey,
			Want: finds("api-key-rejected", "default-endpoint-disabled", "stage-not-found", "waf-blocked")},
	}
}

func routeScenarios() []Scenario {
	// A signed request that finds nothing: the path, its method or the
	// deployment may be missing (B2, B3, B5).
	nowhere := finds("method-not-found", "not-redeployed", "path-not-found")
	// Everything at the stage is Forbidden, by every name: the decision table
	// of FACTS.md 1.4 ends there. The alias resolves, so the API exists, is
	// private and is associated.
	// An API whose resources are / and {proxy+}, with a key required,
	// answers every path the same.
	forbidden := finds("api-key-rejected", "default-endpoint-disabled", "stage-not-found", "waf-blocked")
	// That the alias does not resolve rules nothing out: an API that was never
	// associated with the endpoint has none, and works all the same.
	captured := finds(append(slices.Clone(forbidden), "api-not-found", "public-api-captured")...)
	// A Forbidden domain: by every follow-up alike, so its mapping, a rule of a
	// web ACL, and what is special to the kind of domain remain: who may use it.
	private := finds("api-key-rejected", "base-path-unmapped", "domain-not-associated", "waf-blocked")
	partners := finds("api-key-rejected", "base-path-unmapped", "client-cert-distrusted", "host-not-recognized", "waf-blocked")
	return []Scenario{
		{ID: "path-not-found", Title: "the path does not exist", Target: "orders", Edit: at("/healthz"), Want: nowhere, Tour: true},
		{ID: "path-not-found-unsigned", Title: "the path does not exist, and the caller does not sign", Target: "orders", Edit: unsignedAt("/healthz"), Want: finds("method-not-found", "not-redeployed", "path-not-found", "request-unsigned")},
		// GET passes, so the path is there.
		{ID: "method-not-found", Title: "the path has no such method", Target: "orders", Edit: method("DELETE"), Want: finds("method-not-found", "not-redeployed")},
		{ID: "not-redeployed", Title: "the path was not deployed", Target: "orders", Break: NotRedeployed, Want: nowhere},
		// Or the segment is a base path, and what is found without it is another API's.
		{ID: "stage-in-path", Title: "the stage is left in the path of a custom domain", Target: "catalog", Edit: at("/" + Stage + "/items"), Want: finds("method-not-found", "not-redeployed", "path-not-found", "stage-in-path"), Tour: true},
		{ID: "path-not-found-mapped", Title: "the path does not exist below its base path, and does in the API of the root", Target: "catalog", Break: CatalogMappedTwice, Edit: at("/v2/items"), Want: finds("method-not-found", "not-redeployed", "path-not-found", "stage-in-path")},
		{ID: "host-not-recognized", Title: "the endpoint's own name is called without saying which API", Target: "catalog", Edit: byEndpointName, Want: finds("host-not-recognized"), Tour: true},
		{ID: "host-not-recognized-domain", Title: "what ends TLS for a domain passes its own name on, which API Gateway does not know", Target: "partners", Break: PartnersUnknown, Want: partners},
		{ID: "default-endpoint-disabled", Title: "the API's default endpoint is disabled", Target: "orders", Break: DefaultEndpointDisabled, Want: forbidden, Tour: true},
		{ID: "stage-not-found", Title: "the stage is misspelt", Target: "orders", Edit: stage("prd"), Want: forbidden, Tour: true},
		{ID: "stage-not-found-in-path", Title: "the stage is misspelt, and written as part of the path", Target: "orders", Edit: stageInPath("prd"), Want: forbidden},
		{ID: "stage-in-path-right", Title: "the stage is written as part of the path, which is no fault", Target: "orders", Edit: stageInPath(Stage), Want: finds()},
		{ID: "stage-not-found-deleted", Title: "the stage was deleted", Target: "orders", Break: StageDeleted, Want: forbidden},
		// A rule on the header, or on the path, would look the same.
		{ID: "api-key-rejected-routed", Title: "a routing rule leads the tenant's requests to a stage that requires an API key", Target: "partners", Break: TenantKeyRequired, Edit: asTenant, Want: finds("api-key-rejected", "waf-blocked")},
		{ID: "waf-blocked", Title: "the web ACL blocks the caller's address", Target: "orders", Break: WAF(apigateway.WAFRule{Networks: []string{"10.0.0.0/8"}}), Want: forbidden},
		{ID: "waf-blocked-path", Title: "the web ACL blocks the path", Target: "billing", Break: WAF(apigateway.WAFRule{Path: "/" + Stage + "/invoices"}), Want: finds("api-key-rejected", "waf-blocked")},
		{ID: "waf-blocked-content", Title: "the web ACL blocks a header of the request", Target: "billing", Break: WAF(apigateway.WAFRule{Contains: "tenant-7"}), Edit: tenant, Want: finds("waf-blocked"), Tour: true},
		{ID: "waf-challenge", Title: "the web ACL answers with a challenge", Target: "billing", Break: WAF(apigateway.WAFRule{Action: apigateway.Challenge}), Want: finds("waf-challenge"), Tour: true},
		{ID: "waf-challenge-captcha", Title: "the web ACL answers with a CAPTCHA", Target: "billing", Break: WAF(apigateway.WAFRule{Action: apigateway.Captcha}), Want: finds("waf-challenge")},
		// The alias does not resolve: the API is gone, or it is not a private one
		// (F8, F11). An API that was never associated has no alias either, so what
		// makes a whole stage Forbidden remains possible.
		{ID: "waf-failed", Title: "the web ACL cannot be evaluated", Target: "billing", Break: WAFBroken, Want: finds("waf-failed")},
		{ID: "request-invalid", Title: "the request lacks a parameter", Target: "billing", Break: ParameterRequired("/invoices"), Want: finds("request-invalid")},
		{ID: "public-api-captured", Title: "the API is a public one, and private DNS captures its name", Target: "billing", Break: APIPublic, Want: captured, Tour: true},
		{ID: "api-not-found", Title: "the API was deleted", Target: "billing", Break: APIDeleted, Want: captured, Tour: true},
		{ID: "base-path-unmapped", Title: "the Regional domain is mapped to no API", Target: "partners", Break: BasePathUnmapped, Want: partners, Tour: true},
		{ID: "base-path-unmapped-private", Title: "the private domain is mapped to no API", Target: "catalog", Break: CatalogUnmapped, Want: private},
		{ID: "domain-not-associated", Title: "the endpoint has no access association with the private domain", Target: "catalog", Break: DomainNotAssociated, Want: private, Tour: true},
		{ID: "client-cert-distrusted", Title: "the domain's truststore is not the one on disk", Target: "partners", Break: OtherTruststore, Want: partners},
	}
}

func backendScenarios() []Scenario {
	path, edit := "/status", withoutKeyAt("/status")
	broken := func(how apigateway.Integration) Fault { return Backend(path, how) }
	return []Scenario{
		{ID: "backend-denied", Title: "the backend answers 403", Target: "billing", Break: broken(apigateway.Integration{Status: 403, Body: `{"error":"forbidden by the service"}`}), Edit: edit, Want: finds("backend-denied"), Tour: true},
		{ID: "backend-error", Title: "the backend answers 500", Target: "billing", Break: broken(apigateway.Integration{Status: 500, Body: `{"error":"database"}`}), Edit: edit, Want: finds("backend-error"), Tour: true},
		{ID: "backend-unavailable", Title: "the backend is not available", Target: "billing", Break: broken(apigateway.Integration{Behavior: apigateway.Unavailable}), Edit: edit, Want: finds("backend-error")},
		{ID: "integration-failed", Title: "API Gateway may not call the backend", Target: "billing", Break: broken(apigateway.Integration{Behavior: apigateway.NotPermitted}), Edit: edit, Want: finds("integration-failed"), Tour: true},
		{ID: "integration-failed-response", Title: "the function's answer is not a proxy response", Target: "billing", Break: broken(apigateway.Integration{Behavior: apigateway.MalformedResponse}), Edit: edit, Want: finds("integration-failed")},
		{ID: "integration-failed-network", Title: "the VPC link does not reach the backend", Target: "billing", Break: broken(apigateway.Integration{Behavior: apigateway.Unreachable}), Edit: edit, Want: finds("integration-failed")},
		{ID: "integration-timeout", Title: "the backend takes longer than API Gateway waits", Target: "billing", Break: broken(apigateway.Integration{Behavior: apigateway.TimesOut}), Edit: edit, Want: finds("integration-timeout"), Tour: true},
		{ID: "answer-timeout", Title: "the backend takes longer than the agent waits", Target: "billing", Break: broken(apigateway.Integration{Delay: time.Minute}), Edit: edit, Want: finds("answer-timeout")},
		{ID: "throttled", Title: "the usage plan's rate is exceeded", Target: "billing", Break: Throttled, Want: finds("throttled"), Tour: true},
		{ID: "quota-exceeded", Title: "the usage plan's quota is spent", Target: "billing", Break: QuotaSpent, Want: finds("quota-exceeded"), Tour: true},
	}
}

func answerScenarios() []Scenario {
	// An answer that bears nobody's marks: a stranger at the address, or on the way there.
	stranger := finds("not-api-gateway", "proxy-in-the-way")
	return []Scenario{
		{ID: "not-api-gateway", Title: "a web server answers in API Gateway's place", Target: "orders", Break: AnsweredByWebServer, Want: stranger, Tour: true},
		{ID: "not-api-gateway-balancer", Title: "a load balancer without healthy targets answers", Target: "orders", Break: AnsweredByBalancer, Want: finds("not-api-gateway")},
		{ID: "not-api-gateway-welcome", Title: "something that is not API Gateway answers 200 to everybody", Target: "orders", Break: AnsweredByWelcome, Want: stranger},
		{ID: "not-api-gateway-welcome-domain", Title: "what answers for the Regional domain takes API Gateway's marks away, which is no fault", Target: "partners", Break: PartnersWelcome, Want: finds()},
		{ID: "proxy-in-the-way", Title: "a forward proxy denies the request", Target: "orders", Break: AnsweredByProxy, Want: finds("proxy-in-the-way"), Tour: true},
		// What answers for somebody else's page as well is on the way; that such a page answers as it should shows nothing.
		{ID: "proxy-in-the-way-control", Title: "a firewall that does not show itself answers for the API and for the control", Target: "orders", Break: Faults(AnsweredByFirewall, ControlByFirewall), Edit: withControl, Want: finds("proxy-in-the-way")},
		{ID: "proxy-in-the-way-control-domain", Title: "the same for a Regional domain and the control", Target: "partners", Break: Faults(PartnersAnsweredByFirewall, ControlByFirewall), Edit: withControl, Want: finds("proxy-in-the-way")},
		{ID: "proxy-in-the-way-control-welcome", Title: "a captive portal welcomes whoever asks for the API or for the control", Target: "orders", Break: Faults(AnsweredByWelcome, ControlByWelcome), Edit: withControl, Want: finds("proxy-in-the-way")},
		{ID: "stranger-without-control", Title: "a firewall that does not show itself answers, and there is no control", Target: "orders", Break: AnsweredByFirewall, Want: stranger},
		{ID: "stranger-control-answers", Title: "a web server answers in API Gateway's place, and the control answers as it should", Target: "orders", Break: AnsweredByWebServer, Edit: withControl, Want: stranger},
		{ID: "stranger-control-broken", Title: "a web server answers in API Gateway's place, and the control fails by itself", Target: "orders", Break: Faults(AnsweredByWebServer, ControlBroken), Edit: withControl, Want: stranger},
		{ID: "stranger-control-by-proxy", Title: "a web server answers in API Gateway's place, and a proxy for the control", Target: "orders", Break: Faults(AnsweredByWebServer, ControlByProxy), Edit: withControl, Want: stranger},
		{ID: "stranger-no-egress", Title: "a web server answers in API Gateway's place, and there is no way to the control", Target: "orders", Break: Faults(AnsweredByWebServer, NoEgress), Edit: withControl, Want: stranger},
		{ID: "proxy-in-the-way-trusted", Title: "a proxy intercepts TLS, with an authority that is trusted", Target: "billing", Break: InterceptedTLS, Edit: trustProxy, Want: finds("proxy-in-the-way")},
		{ID: "answer-timeout-slow", Title: "the answer comes a byte at a time", Target: "billing", Break: MisbehaveInTLS(Slowloris), Want: finds("answer-timeout")},
		{ID: "answer-cut", Title: "the answer ends before its end", Target: "billing", Break: MisbehaveInTLS(HalfAnswer), Want: finds("answer-cut")},
		{ID: "answer-cut-reset", Title: "the connection is reset when the request arrives", Target: "billing", Break: MisbehaveInTLS(ResetOnData), Want: finds("answer-cut")},
		{ID: "answer-endless-headers", Title: "the answer's headers have no end", Target: "billing", Break: MisbehaveInTLS(EndlessHeaders), Want: finds("not-api-gateway")},
		{ID: "answer-endless-line", Title: "the answer's first line has no end", Target: "billing", Break: MisbehaveInTLS(EndlessLine), Want: finds("not-api-gateway")},
		{ID: "answer-endless-interim", Title: "interim answers come without end", Target: "billing", Break: MisbehaveInTLS(EndlessInterim), Want: finds("not-api-gateway")},
		{ID: "answer-huge-body", Title: "the answer's body has 10 GB, of which nobody needs to read more than the start", Target: "billing", Break: MisbehaveInTLS(HugeBody), Want: finds()},
		{ID: "answer-noise", Title: "noise answers the request", Target: "billing", Break: MisbehaveInTLS(Garbage), Want: finds("not-api-gateway")},
		{ID: "status-unexpected", Title: "the answer has another status than expected", Target: "billing", Edit: func(t *probes.Target) { t.Expect.Status = []int{204} }, Want: finds("status-unexpected"), Tour: true},
		{ID: "body-unexpected", Title: "the answer does not say what is expected", Target: "billing", Edit: func(t *probes.Target) { t.Expect.JSON = []probes.Equals{{Path: "checks.0.state", Value: "down"}} }, Want: finds("body-unexpected"), Tour: true},
	}
}

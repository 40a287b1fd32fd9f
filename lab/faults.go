package lab

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"vpcprobe/lab/apigateway"
)

// Faults returns a fault that is all of the given ones.
func Faults(faults ...Fault) Fault {
	return func(l *Lab) {
		for _, f := range faults {
			f(l)
		}
	}
}

// ---- DNS

// PrivateDNSOff turns the endpoint's private DNS names off: the API's name
// leads to a public address, on which nothing answers.
func PrivateDNSOff(l *Lab) {
	l.everyZone(func(z zone) {
		z.addrs[privateName] = []netip.Addr{PublicAddress()}
		z.addrs["*"+executeAPIZone] = []netip.Addr{PublicAddress()}
	})
}

// PublicGateway makes the public address answer, as API Gateway does from the
// internet: with Forbidden, for an API that is private.
func PublicGateway(l *Lab) { l.change(func(s *state) { s.links[publicStub()] = open }) }

// NameGone makes all private names unknown (NXDOMAIN), as for a resolver that
// does not forward to the VPC's.
func NameGone(l *Lab) {
	l.everyZone(func(z zone) {
		delete(z.addrs, privateName)
		delete(z.addrs, "*"+executeAPIZone)
	})
}

// DomainGone makes the private custom domain unknown.
func DomainGone(l *Lab) { l.everyZone(func(z zone) { delete(z.cnames, CatalogDomain) }) }

// NameWithoutAddress leaves the API's name without any address.
func NameWithoutAddress(l *Lab) { l.everyZone(func(z zone) { z.addrs[privateName] = nil }) }

// WrongAddresses makes the API's name lead to an endpoint of another VPC.
func WrongAddresses(l *Lab) {
	l.everyZone(func(z zone) { z.addrs[privateName] = []netip.Addr{otherENI()} })
}

// DomainElsewhere makes the private custom domain lead to an endpoint of
// another VPC.
func DomainElsewhere(l *Lab) {
	l.everyZone(func(z zone) { z.cnames[CatalogDomain] = OtherEndpointName })
}

// MissingAddress leaves one of the endpoint's addresses out of the API's name.
// It is not a fault yet: a resolver may answer fewer addresses than there are.
func MissingAddress(l *Lab) {
	l.everyZone(func(z zone) { z.addrs[privateName] = without(ENIs(), ENIs()[2]) })
}

// AliasNotAssociated makes the alias name unknown, as when the endpoint is
// not in the API's configuration, or the API was not redeployed.
func AliasNotAssociated(l *Lab) {
	l.change(func(s *state) {
		for _, z := range s.zones {
			delete(z.addrs, aliasName)
		}
		s.model.APIs[API].Endpoints = nil
	})
}

// EndpointDeleted makes the endpoint's own names unknown; the private names
// are left behind in a resolver's cache.
func EndpointDeleted(l *Lab) {
	l.everyZone(func(z zone) {
		delete(z.addrs, EndpointName)
		for i := range ENIs() {
			delete(z.addrs, zonalName(i))
		}
	})
}

// SecondResolverStale makes the second resolver go on answering with the
// addresses of an endpoint of another VPC.
func SecondResolverStale(l *Lab) {
	l.change(func(s *state) { s.zones[1].addrs[privateName] = []netip.Addr{otherENI()} })
}

// HostsOverride puts the API's name into the hosts file, with an address of
// another VPC's endpoint.
func HostsOverride(l *Lab) {
	l.change(func(s *state) { s.hosts = fmt.Sprintf("%v %s # left from the migration\n", otherENI(), privateName) })
}

// The ways in which resolvers misbehave. With no index given, all of them do.

// ResolverSilent makes resolvers not answer at all.
func ResolverSilent(which ...int) Fault { return resolving(never, which) }

// ResolverNoRoute makes the first resolver unreachable.
func ResolverNoRoute(l *Lab) { l.setLinks(unroutable, Resolvers()[0]) }

// ResolverServFail makes resolvers answer SERVFAIL.
func ResolverServFail(which ...int) Fault { return resolving(failing(dns.RcodeServerFailure), which) }

// ResolverRefuses makes resolvers answer REFUSED.
func ResolverRefuses(which ...int) Fault { return resolving(failing(dns.RcodeRefused), which) }

// ResolverRotates makes resolvers answer with one address at a time, which is
// no fault either: all of them are the endpoint's.
func ResolverRotates(which ...int) Fault { return resolving(rotating, which) }

// ResolverTruncates makes resolvers truncate over UDP; over TCP they answer in
// full, so it is no fault for those who ask again.
func ResolverTruncates(which ...int) Fault { return resolving(truncating, which) }

// ResolverTruncatesWithoutTCP makes resolvers truncate over UDP and say nothing
// over TCP.
func ResolverTruncatesWithoutTCP(which ...int) Fault { return resolving(truncatingSilently, which) }

// ResolverBabbles makes resolvers answer with bytes that are not DNS.
func ResolverBabbles(which ...int) Fault { return resolving(babbling, which) }

// ResolverMistakesID makes resolvers answer with a wrong transaction id.
func ResolverMistakesID(which ...int) Fault { return resolving(wrongID, which) }

// ResolverMistakesQuestion makes resolvers answer another question.
func ResolverMistakesQuestion(which ...int) Fault { return resolving(wrongQuestion, which) }

// ResolverLoops makes resolvers answer with a name that is a compression
// pointer to itself.
func ResolverLoops(which ...int) Fault { return resolving(looping, which) }

// ResolverFailsIPv6 makes resolvers answer SERVFAIL to questions for AAAA
// records only.
func ResolverFailsIPv6(which ...int) Fault { return resolving(failingIPv6, which) }

// FirstNameserverFailing makes resolv.conf name two servers, of which the
// first answers with errors.
func FirstNameserverFailing(l *Lab) {
	ResolverServFail(0)(l)
	l.change(func(s *state) { s.nameservers = Resolvers() })
}

func resolving(how reply, which []int) Fault {
	return func(l *Lab) {
		l.change(func(s *state) {
			for i := range s.replies {
				if len(which) == 0 || slices.Contains(which, i) {
					s.replies[i] = how
				}
			}
		})
	}
}

func (l *Lab) everyZone(edit func(zone)) {
	l.change(func(s *state) {
		for _, z := range s.zones {
			edit(z)
		}
	})
}

// ---- the path

// SecurityGroup drops what is sent to the endpoint, on every interface.
func SecurityGroup(l *Lab) { l.setLinks(silent, ENIs()...) }

// Subnet drops what is sent to the interface in the i'th subnet.
func Subnet(i int) Fault { return func(l *Lab) { l.setLinks(silent, ENIs()[i]) } }

// PartnersDropped drops what is sent to the Regional custom domain.
func PartnersDropped(l *Lab) { l.setLinks(silent, partnersENI()) }

// Refused leaves nobody listening at the endpoint's addresses.
func Refused(l *Lab) { l.setLinks(refused, ENIs()...) }

// NoRoute makes the endpoint's addresses unreachable.
func NoRoute(l *Lab) { l.setLinks(unroutable, ENIs()...) }

// ConnectionReset makes connections to the endpoint end in the moment they
// stand.
func ConnectionReset(l *Lab) { l.setLinks(resetting, ENIs()...) }

// Flaky swallows every second attempt to connect to the interface in the i'th
// subnet.
func Flaky(i int) Fault {
	return func(l *Lab) {
		l.attempts.Store(0)
		l.setLinks(flaky, ENIs()[i])
	}
}

// Prohibited makes a local or a router's policy forbid the way to the endpoint.
func Prohibited(l *Lab) { l.setLinks(prohibited, ENIs()...) }

func (l *Lab) setLinks(to link, addrs ...netip.Addr) {
	l.change(func(s *state) {
		for _, a := range addrs {
			s.links[a] = to
		}
	})
}

// Misbehave lets something that misbehaves answer at the endpoint's addresses,
// before any TLS.
func Misbehave(how Misbehavior) Fault {
	return func(l *Lab) {
		l.change(func(s *state) {
			for _, a := range ENIs() {
				s.peers[a] = misbehaviorOf(how)
			}
		})
	}
}

// MisbehaveInTLS lets the endpoint misbehave once the handshake is done.
func MisbehaveInTLS(how Misbehavior) Fault {
	return endpointTLS(func(t *side) { t.talk = misbehaviorOf(how) })
}

// ---- TLS

// CertificateUntrusted makes the endpoint show a certificate of an authority
// that nobody knows.
func CertificateUntrusted(l *Lab) { endpointTLS(func(t *side) { t.issuer = stranger })(l) }

// CertificateExpired makes the endpoint's certificate one of two days ago.
func CertificateExpired(l *Lab) { endpointTLS(func(t *side) { t.expires = -2 * day })(l) }

// CertificateExpiring makes the endpoint's certificate end in five days.
func CertificateExpiring(l *Lab) { endpointTLS(func(t *side) { t.expires = 5 * day })(l) }

// CertificateWrongName makes the endpoint show a certificate of another name.
func CertificateWrongName(l *Lab) { endpointTLS(func(t *side) { t.name = "www.example.com" })(l) }

// PartnersWildcard makes the Regional domain show API Gateway's own wildcard,
// as where the domain is not known.
func PartnersWildcard(l *Lab) { partnersTLS(func(t *side) { t.name = "*" + executeAPIZone })(l) }

// OldTLS makes the endpoint speak TLS 1.0 and 1.1 only.
func OldTLS(l *Lab) {
	endpointTLS(func(t *side) { t.min, t.max = tls.VersionTLS10, tls.VersionTLS11 })(l)
}

// OnlyTLS12 makes the endpoint speak TLS 1.2 only. That is no fault: the
// documents disagree on what it speaks (FACTS.md 2.4).
func OnlyTLS12(l *Lab) { endpointTLS(func(t *side) { t.max = tls.VersionTLS12 })(l) }

// InterceptedTLS puts a proxy before the endpoint that ends TLS with
// certificates of its own authority and denies what it reads.
func InterceptedTLS(l *Lab) {
	endpointTLS(func(t *side) { t.issuer, t.page = proxy, http.HandlerFunc(denyingProxy) })(l)
}

// HandshakeRefused makes the endpoint refuse every handshake with an alert that
// concerns neither version nor client certificate.
func HandshakeRefused(l *Lab) { endpointTLS(func(t *side) { t.refuses = true })(l) }

// HandshakeAltered puts something in the way that alters bytes of the server's
// part of the handshake.
func HandshakeAltered(l *Lab) { endpointTLS(func(t *side) { t.altered = true })(l) }

// StrictAccess sets the API's endpoint access mode to STRICT.
func StrictAccess(l *Lab) {
	l.model(func(m *apigateway.State) { m.APIs[API].AccessMode = apigateway.Strict })
}

func endpointTLS(edit func(*side)) Fault {
	return func(l *Lab) { l.change(func(s *state) { edit(&s.private) }) }
}

func partnersTLS(edit func(*side)) Fault {
	return func(l *Lab) { l.change(func(s *state) { edit(&s.regional) }) }
}

// ---- mutual TLS

// MutualTLSOff makes the Regional domain not ask for a client certificate.
func MutualTLSOff(l *Lab) { partnersTLS(func(t *side) { t.mutual = notAsked })(l) }

// MutualTLS13 makes the Regional domain speak TLS 1.3 as well, where its
// verdict on the client certificate comes after the client's handshake is
// done. It is no fault.
func MutualTLS13(l *Lab) { partnersTLS(func(t *side) { t.max = tls.VersionTLS13 })(l) }

// MutualTLSNamesCAs makes the Regional domain name the authorities that it
// accepts. It is no fault.
func MutualTLSNamesCAs(l *Lab) { partnersTLS(func(t *side) { t.caNames = true })(l) }

// MutualTLSByVerifier puts a proxy in front that ends mutual TLS by itself: it
// refuses with an alert.
func MutualTLSByVerifier(l *Lab) { partnersTLS(func(t *side) { t.mutual = asVerifier })(l) }

// MutualTLSByBalancer puts an Application Load Balancer in verify mode in
// front: it refuses with a reset.
func MutualTLSByBalancer(l *Lab) { partnersTLS(func(t *side) { t.mutual = asBalancer })(l) }

// OtherTruststore makes the Regional domain trust other authorities than the
// truststore on disk has, as when the object in S3 was replaced.
func OtherTruststore(l *Lab) {
	l.change(func(s *state) { s.serverTrust = []*x509.Certificate{l.issuers.authorities[stranger].root().cert} })
}

// The faults of the client's files. What the server trusts is what the
// truststore on disk says, where that is valid.

// ClientKeyMismatch puts another certificate's key beside the certificate.
func ClientKeyMismatch(l *Lab) { l.put(foreignKey) }

// ClientExpired makes the client certificate one of two days ago.
func ClientExpired(l *Lab) { l.put(validUntil(-2 * day)) }

// ClientExpiring makes the client certificate end in five days.
func ClientExpiring(l *Lab) { l.put(validUntil(5 * day)) }

// ClientSHA1 makes the client certificate one with a SHA-1 signature.
func ClientSHA1(l *Lab) { l.put(sha1Signed) }

// ClientRSA1024 gives the client certificate a key of 1,024 bits.
func ClientRSA1024(l *Lab) { l.put(shortKey) }

// ClientSelfSigned makes the client certificate a self-signed one.
func ClientSelfSigned(l *Lab) { l.put(selfSigned) }

// ClientAltered makes the client certificate a self-signed one that differs
// from its copy in the truststore.
func ClientAltered(l *Lab) { l.put(altered) }

// ClientUntrusted makes the client certificate one of an authority that the
// truststore does not hold.
func ClientUntrusted(l *Lab) { l.put(untrusted) }

// TruststoreIncomplete leaves the authority between root and client out of the
// truststore.
func TruststoreIncomplete(l *Lab) { l.put(incompleteChain) }

// TruststoreChainTooLong puts five authorities above the client.
func TruststoreChainTooLong(l *Lab) { l.put(longChain) }

// TruststoreBroken puts a certificate that does not parse into the truststore.
func TruststoreBroken(l *Lab) { l.put(brokenBundle) }

// TruststoreConflict puts two certificates of one subject by different issuers
// into the truststore.
func TruststoreConflict(l *Lab) { l.put(conflict) }

// TruststoreWeak makes the client's issuer an authority with a SHA-1 signature.
func TruststoreWeak(l *Lab) { l.put(weakChain) }

// TruststoreWeakElsewhere puts an authority with a SHA-1 signature into the
// truststore that is not the client's.
func TruststoreWeakElsewhere(l *Lab) { l.put(weakBundle) }

// TruststoreScrambled makes the copy of the truststore unreadable.
func TruststoreScrambled(l *Lab) { l.put(scrambledBundle) }

// TruststoreOutdated makes the copy of the truststore one that the domain no
// longer uses.
func TruststoreOutdated(l *Lab) { l.put(outdatedBundle) }

// ClientScrambled makes the client certificate unreadable.
func ClientScrambled(l *Lab) { l.put(scrambled) }

// ClientForServers makes the client certificate one for servers only.
func ClientForServers(l *Lab) { l.put(forServers) }

// ExpiryIgnored makes the Regional domain accept certificates that have
// expired. Whether API Gateway does is not known (FACTS.md 3.1).
func ExpiryIgnored(l *Lab) {
	l.model(func(m *apigateway.State) { m.Domains[PartnersDomain].IgnoreExpiry = true })
}

// TruststoreLarge puts more than 1,000 certificates into the truststore.
func TruststoreLarge(l *Lab) { l.put(largeBundle) }

func (l *Lab) put(maker credentialMaker) {
	c, err := maker(l.partner)
	if err != nil {
		panic(fmt.Sprintf("lab: %v", err))
	}
	l.change(func(s *state) { s.credential = c })
}

// ---- credentials

// NoCredentials makes every source of credentials answer that there are none.
func NoCredentials(l *Lab) { l.change(func(s *state) { s.identity.source = hasNone }) }

// CredentialsSilent makes every source of credentials swallow the request, as
// IMDS does for a container behind a hop limit of 1.
func CredentialsSilent(l *Lab) { l.change(func(s *state) { s.identity.source = isSilent }) }

// CredentialsFor makes the credentials that are handed out from now on end
// after d. It is no fault.
func CredentialsFor(d time.Duration) Fault {
	return func(l *Lab) { l.change(func(s *state) { s.identity.expires = d }) }
}

// CredentialsExpired makes API Gateway see the credentials as expired.
func CredentialsExpired(l *Lab) {
	l.model(func(m *apigateway.State) { m.Principals[AccessKeyID].Expired = true })
}

// AccessKeyUnknown makes AWS not know the access key.
func AccessKeyUnknown(l *Lab) {
	l.model(func(m *apigateway.State) { delete(m.Principals, AccessKeyID) })
}

// SecretWrong makes the caller's secret key another than AWS has.
func SecretWrong(l *Lab) {
	l.model(func(m *apigateway.State) { m.Principals[AccessKeyID].SecretAccessKey = "another" + SecretAccessKey })
}

// ---- API Gateway

// Model returns a fault of API Gateway that has no name of its own.
func Model(edit func(*apigateway.State)) Fault { return func(l *Lab) { l.model(edit) } }

func (l *Lab) model(edit func(*apigateway.State)) { l.change(func(s *state) { edit(s.model) }) }

// private edits the private API and deploys it.
func (l *Lab) private(edit func(*apigateway.API)) {
	l.model(func(m *apigateway.State) {
		edit(m.APIs[API])
		m.APIs[API].Deploy()
	})
}

// OldMessages makes API Gateway use the texts of before 2025/26. It is no
// fault, but it makes others harder to tell apart.
func OldMessages(l *Lab) { l.model(func(m *apigateway.State) { m.OldMessages = true }) }

// ResourcePolicySilent makes the resource policy allow another endpoint only.
func ResourcePolicySilent(l *Lab) {
	l.private(func(a *apigateway.API) { a.Policy = throughOther })
}

// ResourcePolicyDenies makes the resource policy deny everyone.
func ResourcePolicyDenies(l *Lab) {
	l.private(func(a *apigateway.API) { a.Policy = denyInvoke })
}

// ResourcePolicyForRole makes the resource policy name a role, so that callers
// of methods without IAM authorization are anonymous to it.
func ResourcePolicyForRole(l *Lab) { l.private(func(a *apigateway.API) { a.Policy = forRole }) }

// EndpointPolicySilent makes the endpoint's policy allow another API only.
func EndpointPolicySilent(l *Lab) { l.endpointPolicy(otherAPIAllowed) }

// EndpointPolicyDenies makes the endpoint's policy deny everything.
func EndpointPolicyDenies(l *Lab) { l.endpointPolicy(denyInvoke) }

func (l *Lab) endpointPolicy(policy string) {
	l.model(func(m *apigateway.State) { m.Endpoints[EndpointID].Policy = policy })
}

// IdentityPolicySilent takes the caller's permission away. The resource policy
// then allows nobody else either: within one account, either is enough.
func IdentityPolicySilent(l *Lab) {
	l.model(func(m *apigateway.State) {
		m.Principals[AccessKeyID].Policy = otherPrivilege
		m.APIs[API].Policy = throughOther
		m.APIs[API].Deploy()
	})
}

// IdentityPolicyDenies makes the caller's own policy deny the call.
func IdentityPolicyDenies(l *Lab) {
	l.model(func(m *apigateway.State) { m.Principals[AccessKeyID].Policy = denyPrivilege })
}

// OrganizationDenies makes a guardrail of the organization deny the call.
func OrganizationDenies(l *Lab) { l.guard(apigateway.ServiceControl, denyPrivilege) }

// BoundarySilent makes the caller's permissions boundary not allow the call.
func BoundarySilent(l *Lab) { l.guard(apigateway.Boundary, otherPrivilege) }

// SessionSilent makes the caller's session policy not allow the call.
func SessionSilent(l *Lab) { l.guard(apigateway.Session, otherPrivilege) }

func (l *Lab) guard(kind apigateway.GuardrailKind, policy string) {
	l.model(func(m *apigateway.State) {
		p := m.Principals[AccessKeyID]
		p.Guardrails = append(p.Guardrails, apigateway.Guardrail{Kind: kind, Policy: policy})
	})
}

// ResourceControlDenies makes a resource control policy deny everyone.
func ResourceControlDenies(l *Lab) {
	l.model(func(m *apigateway.State) { m.ResourceControl = &apigateway.Guardrail{Policy: denyInvoke} })
}

// Authorizer makes the Lambda authorizer of /guarded decide as told.
func Authorizer(v apigateway.Verdict) Fault {
	return func(l *Lab) {
		l.private(func(a *apigateway.API) { a.Resources["/guarded"][http.MethodGet].Authorizer.Verdict = v })
	}
}

// AuthorizerNarrow makes the authorizer's cached policy not cover the path. It
// matters where the resource policy does not allow by itself.
func AuthorizerNarrow(l *Lab) {
	l.private(func(a *apigateway.API) {
		a.Resources["/guarded"][http.MethodGet].Authorizer.Verdict = apigateway.DenyNarrow
		a.Policy = throughOther
	})
}

// ClockAhead makes the caller's clock ten minutes fast, that is, everybody
// else's ten minutes slow.
func ClockAhead(l *Lab) { l.skew(-10 * time.Minute) }

// ClockBehind makes the caller's clock ten minutes slow.
func ClockBehind(l *Lab) { l.skew(10 * time.Minute) }

func (l *Lab) skew(by time.Duration) {
	l.model(func(m *apigateway.State) { m.Now = func() time.Time { return time.Now().Add(by) } })
}

// NotRedeployed takes /health out of what is deployed, while the definition
// still has it.
func NotRedeployed(l *Lab) {
	l.model(func(m *apigateway.State) { delete(m.APIs[API].Stages[Stage].Resources, "/health") })
}

// StageDeleted deletes the stage.
func StageDeleted(l *Lab) { l.model(func(m *apigateway.State) { delete(m.APIs[API].Stages, Stage) }) }

// APIDeleted deletes the API; its names still resolve.
func APIDeleted(l *Lab) {
	l.change(func(s *state) {
		delete(s.model.APIs, API)
		for _, d := range s.model.Domains {
			d.Mappings = slices.DeleteFunc(d.Mappings, func(m apigateway.Mapping) bool { return m.API == API })
		}
		for _, z := range s.zones {
			delete(z.addrs, aliasName)
		}
	})
}

// APIPublic makes the API a Regional one, whose default name private DNS
// captures.
func APIPublic(l *Lab) {
	l.change(func(s *state) {
		api := s.model.APIs[API]
		api.Type, api.Policy, api.Endpoints = apigateway.Regional, "", nil
		api.Deploy()
		delete(s.model.Domains, CatalogDomain)
		for _, z := range s.zones {
			delete(z.addrs, aliasName)
		}
	})
}

// DefaultEndpointDisabled disables the API's default endpoint.
func DefaultEndpointDisabled(l *Lab) {
	l.model(func(m *apigateway.State) { m.APIs[API].DefaultEndpointDisabled = true })
}

// BasePathUnmapped takes the Regional domain's mapping away.
func BasePathUnmapped(l *Lab) {
	l.model(func(m *apigateway.State) { m.Domains[PartnersDomain].Mappings = nil })
}

// PartnersUnknown makes API Gateway not know the domain, as if a load balancer
// ended TLS by its own name and passed that on.
func PartnersUnknown(l *Lab) {
	l.model(func(m *apigateway.State) { delete(m.Domains, PartnersDomain) })
}

// TenantKeyRequired makes a routing rule of the Regional domain lead one
// tenant's requests to a stage where every method requires an API key.
func TenantKeyRequired(l *Lab) {
	l.model(func(m *apigateway.State) {
		key := map[string]*apigateway.Method{http.MethodGet: {KeyRequired: true}}
		m.APIs[PartnersAPI].Stages["tenants"] = &apigateway.Stage{Definition: apigateway.Definition{Resources: map[string]map[string]*apigateway.Method{"/status": key}}}
		m.Domains[PartnersDomain].Rules = []apigateway.RoutingRule{{Header: "X-Tenant", Value: "tenant-7", API: PartnersAPI, Stage: "tenants"}}
	})
}

// CatalogUnmapped takes the private domain's mapping away.
func CatalogUnmapped(l *Lab) {
	l.model(func(m *apigateway.State) { m.Domains[CatalogDomain].Mappings = nil })
}

// CatalogMappedTwice maps a base path of the private domain to a stage that has
// nothing deployed.
func CatalogMappedTwice(l *Lab) {
	l.model(func(m *apigateway.State) {
		m.APIs[API].Stages["empty"] = &apigateway.Stage{Definition: apigateway.Definition{Policy: throughEndpoint}}
		d := m.Domains[CatalogDomain]
		d.Mappings = append(d.Mappings, apigateway.Mapping{BasePath: "v2", API: API, Stage: "empty"})
	})
}

// DomainNotAssociated takes away the association of the private domain with
// the endpoint.
func DomainNotAssociated(l *Lab) {
	l.model(func(m *apigateway.State) { m.Domains[CatalogDomain].Associations = nil })
}

// APIKeyDisabled disables the API key.
func APIKeyDisabled(l *Lab) { l.model(func(m *apigateway.State) { m.Keys["key1"].Disabled = true }) }

// APIKeyUnplanned takes the stage out of the API key's usage plan.
func APIKeyUnplanned(l *Lab) { l.model(func(m *apigateway.State) { m.Plans[0].Stages = nil }) }

// Throttled makes every request exceed the plan's rate.
func Throttled(l *Lab) { l.model(func(m *apigateway.State) { m.Plans[0].Throttled = true }) }

// QuotaSpent makes the plan's quota spent.
func QuotaSpent(l *Lab) { l.model(func(m *apigateway.State) { m.Plans[0].QuotaSpent = true }) }

// WAF puts a web ACL with one rule in front of the stage.
func WAF(rule apigateway.WAFRule) Fault {
	return func(l *Lab) {
		l.model(func(m *apigateway.State) {
			m.APIs[API].Stages[Stage].WAF = &apigateway.WAF{Rules: []apigateway.WAFRule{rule}}
		})
	}
}

// ParameterRequired makes the request validator of a path ask for a query
// parameter.
func ParameterRequired(path string) Fault {
	return func(l *Lab) {
		l.private(func(a *apigateway.API) { a.Resources[path][http.MethodGet].RequiredParams = []string{"tenant"} })
	}
}

// KeyEverywhere makes one greedy resource of the API, with a key required for
// every path, the root included: what a proxy to one function looks like.
func KeyEverywhere(l *Lab) {
	l.private(func(a *apigateway.API) {
		all := map[string]*apigateway.Method{"ANY": {KeyRequired: true, Integration: apigateway.Integration{Body: "{}"}}}
		a.Resources = map[string]map[string]*apigateway.Method{"/": all, "/{proxy+}": all}
	})
}

// WAFBroken makes the evaluation of the web ACL fail.
func WAFBroken(l *Lab) {
	l.model(func(m *apigateway.State) { m.APIs[API].Stages[Stage].WAF = &apigateway.WAF{Broken: true} })
}

// Backend makes the integration of a path behave as told.
func Backend(path string, how apigateway.Integration) Fault {
	return func(l *Lab) {
		l.private(func(a *apigateway.API) { a.Resources[path][http.MethodGet].Integration = how })
	}
}

// AnsweredBy lets another web server answer at the endpoint's addresses, with
// a certificate that verifies.
func AnsweredBy(page http.HandlerFunc) Fault { return endpointTLS(func(t *side) { t.page = page }) }

// AnsweredByWebServer lets a web server answer that knows nothing of the API.
func AnsweredByWebServer(l *Lab) { AnsweredBy(webServer)(l) }

// AnsweredByWelcome lets something answer that welcomes everybody, and shows
// itself by nothing.
func AnsweredByWelcome(l *Lab) { AnsweredBy(welcomePage)(l) }

// PartnersWelcome lets it answer in the Regional domain's place.
func PartnersWelcome(l *Lab) {
	partnersTLS(func(t *side) { t.page = http.HandlerFunc(welcomePage) })(l)
}

// AnsweredByProxy lets a forward proxy deny the request.
func AnsweredByProxy(l *Lab) { AnsweredBy(denyingProxy)(l) }

// AnsweredByBalancer lets a load balancer answer that has no healthy target.
func AnsweredByBalancer(l *Lab) { AnsweredBy(emptyBalancer)(l) }

// AnsweredByFirewall lets a firewall answer that shows itself by nothing but
// its words.
func AnsweredByFirewall(l *Lab) { AnsweredBy(blockPage)(l) }

// PartnersAnsweredByFirewall lets that firewall answer in the Regional domain's
// place.
func PartnersAnsweredByFirewall(l *Lab) {
	partnersTLS(func(t *side) { t.page = http.HandlerFunc(blockPage) })(l)
}

// ControlAnsweredBy lets something else answer in the public web server's
// place.
func ControlAnsweredBy(page http.HandlerFunc) Fault {
	return func(l *Lab) { l.change(func(s *state) { s.public.page = page }) }
}

// ControlByFirewall lets the firewall answer in the public web server's place.
func ControlByFirewall(l *Lab) { ControlAnsweredBy(blockPage)(l) }

// ControlByWelcome lets what welcomes everybody answer in the public web
// server's place, too.
func ControlByWelcome(l *Lab) { ControlAnsweredBy(welcomePage)(l) }

// ControlByProxy lets a forward proxy deny the way to the public web server.
func ControlByProxy(l *Lab) { ControlAnsweredBy(denyingProxy)(l) }

// ControlBroken makes the public web server fail by itself.
func ControlBroken(l *Lab) {
	ControlAnsweredBy(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the database of addresses is being rebuilt", http.StatusInternalServerError)
	})(l)
}

// NoEgress drops what is sent to the public web server, as in a VPC that has
// no way out.
func NoEgress(l *Lab) { l.setLinks(silent, controlSite()) }

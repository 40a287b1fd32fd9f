package invoke

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vpcprobe/probes"
	"vpcprobe/probes/resolve"
)

// Blamed returns the requests that went wrong, but for those that the names
// explain: what a stranger answers, to whom the DNS leads, and what an endpoint
// answers that cannot know the API by this name.
func Blamed(seen probes.Evidence) []probes.Observation {
	return probes.Filter(seen.Of(name), func(o probes.Observation) bool {
		if !o.Outcome.Blames() { // as nearly always
			return false
		}
		lane, ok := seen.Lane(o)
		explained := ok && resolve.Explains(seen, lane)
		return !explained && (o.Addr.Addr() == netip.Addr{} || resolve.Inside(seen, o.Addr.Addr()))
	})
}

// means is the Match of a rule: the answers that may mean the finding. Of
// several lanes the surest speaks.
func means(finding string) func(probes.Evidence) (probes.Certainty, []probes.Observation) {
	return func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		surest := probes.No
		because := probes.Filter(Blamed(seen), func(o probes.Observation) bool {
			a := Of(o)
			if a == nil || !slices.Contains(a.Causes, finding) {
				return false
			}
			surest = max(surest, a.Certainty)
			return true
		})
		return surest, because
	}
}

// ended is the Match of a rule about requests that got no complete answer.
func ended(sure probes.Certainty, outcomes ...probes.Outcome) func(probes.Evidence) (probes.Certainty, []probes.Observation) {
	return func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		because := probes.Filter(Blamed(seen), func(o probes.Observation) bool {
			a := Of(o)
			return slices.Contains(outcomes, o.Outcome) && a != nil && a.Method != ""
		})
		if because == nil {
			return probes.No, nil
		}
		return sure, because
	}
}

// The words about logs that all articles end in.
const (
	noEvents = "no event, though execution logging is on at level INFO: the request never reached this stage, so look at the URL, the Host header and the DNS"
	detour   = "an HTTP API has no execution log: for a test, map a REST API to the same domain (aws apigateway create-base-path-mapping), read its log, and map the HTTP API again"

	// AccessLogFormat is the format that makes API Gateway log what mutual
	// TLS knew of the client (AWS re:Post Knowledge Center,
	// api-gateway-mutual-tls-403-errors).
	AccessLogFormat = `{"accountId":"$context.accountId","apiId":"$context.apiId","domainName":"$context.domainName","domainPrefix":"$context.domainPrefix","error.message":"$context.error.message","error.responseType":"$context.error.responseType","extendedRequestId":"$context.extendedRequestId","httpMethod":"$context.httpMethod","identity.sourceIp":"$context.identity.sourceIp","identity.clientCert.clientCertPem":"$context.identity.clientCert.clientCertPem","identity.clientCert.subjectDN":"$context.identity.clientCert.subjectDN","identity.clientCert.issuerDN":"$context.identity.clientCert.issuerDN","identity.clientCert.serialNumber":"$context.identity.clientCert.serialNumber","identity.clientCert.validity.notBefore":"$context.identity.clientCert.validity.notBefore","identity.clientCert.validity.notAfter":"$context.identity.clientCert.validity.notAfter","identity.userAgent":"$context.identity.userAgent","path":"$context.path","protocol":"$context.protocol","requestId":"$context.requestId","requestTime":"$context.requestTime","requestTimeEpoch":"$context.requestTimeEpoch","resourceId":"$context.resourceId","resourcePath":"$context.resourcePath","stage":"$context.stage","responseLatency":"$context.responseLatency","responseLength":"$context.responseLength","status":"$context.status"}`
)

// Logs says where API Gateway's own account of the requests is found: the ids
// to look for and the command.
func Logs(seen probes.Evidence, because []probes.Observation) []string {
	for _, o := range because {
		a := Of(o)
		switch {
		case a == nil || a.RequestID == "":
			continue
		case a.Who == HTTPAPI:
			return []string{"request id " + a.RequestID, detour}
		case a.Who != RESTAPI && a.Who != Backend:
			continue
		}
		ids := "request id " + a.RequestID
		if a.ExtendedRequestID != "" {
			ids += ", extended request id " + a.ExtendedRequestID
		}
		return []string{ids, LogCommand(seen.Target, a), noEvents}
	}
	return nil
}

// LogCommand is the command that shows what the execution log says of the
// request. What is not known stands there in capitals.
func LogCommand(t *probes.Target, a *Answer) string {
	region, api, stage := t.Region, t.API, t.Stage
	if m := invokedARN().FindStringSubmatch(a.Message); m != nil {
		region, api, stage = or(region, m[1]), or(api, m[2]), or(stage, m[3])
	}
	return fmt.Sprintf(`aws logs filter-log-events --region %s --log-group-name API-Gateway-Execution-Logs_%s/%s --filter-pattern '"%s"'`,
		or(region, "REGION"), or(api, "API"), or(stage, "STAGE"), a.RequestID)
}

// invokedARN finds region, API and stage in a denial.
var invokedARN = re(`arn:[a-z-]+:execute-api:([a-z0-9-]+):[*0-9]*:([a-z0-9]{1,32})/([A-Za-z0-9_$-]{1,128})/`)

func or(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}

// Only says on which name form a cause shows, if others do not show it.
func Only(seen probes.Evidence, because []probes.Observation) []string {
	forms := vias(because)
	if len(forms) == 0 || len(forms) == len(vias(seen.Of(name))) {
		return nil
	}
	return []string{"seen on the name form " + strings.Join(forms, ", ") + " only"}
}

func vias(obs []probes.Observation) []string {
	var forms []string
	for _, o := range obs {
		if o.Outcome != probes.Skipped && o.Via != "" && !slices.Contains(forms, string(o.Via)) {
			forms = append(forms, string(o.Via))
		}
	}
	return forms
}

// notes joins what several say.
func notes(say ...func(probes.Evidence, []probes.Observation) []string) func(probes.Evidence, []probes.Observation) []string {
	return func(seen probes.Evidence, because []probes.Observation) []string {
		var all []string
		for _, s := range say {
			all = append(all, s(seen, because)...)
		}
		return all
	}
}

// told says something about the first answers, without repeating itself.
func told(say func(probes.Evidence, probes.Observation, *Answer) string) func(probes.Evidence, []probes.Observation) []string {
	const few = 3
	return func(seen probes.Evidence, because []probes.Observation) []string {
		var all []string
		for _, o := range because {
			a := Of(o)
			if a == nil {
				continue
			}
			if text := say(seen, o, a); text != "" && !slices.Contains(all, text) && len(all) < few {
				all = append(all, text)
			}
		}
		return all
	}
}

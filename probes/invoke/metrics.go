package invoke

import (
	"strconv"

	"vpcprobe/probes"
)

var (
	statusCode = &probes.Metric{
		Name:   "http_status_code",
		Help:   "The HTTP status of the latest answer.",
		Labels: []string{"via", "address"},
	}
	responses = &probes.Metric{
		Name:   "http_responses_total",
		Help:   "Answers to the target's requests, by HTTP status and x-amzn-errortype (none without one, other if it is not a known one).",
		Type:   probes.Counter,
		Labels: []string{"code", "errortype"},
	}
	clockSkew = &probes.Metric{
		Name: "clock_skew_seconds",
		Help: "The server's clock minus the local one, in seconds, from the latest answer's Date header; exact to about a second. Signatures are refused beyond 300.",
	}
	credentialsExpiry = &probes.Metric{
		Name: "credentials_expiration_timestamp_seconds",
		Help: "When the AWS credentials that requests are signed with expire, in Unix time.",
	}
)

func values(a *Answer, k *call) []probes.Value {
	var vs []probes.Value
	if a.Status != 0 {
		code := strconv.Itoa(a.Status)
		vs = append(vs, statusCode.Is(float64(a.Status)), responses.Is(1, code, knownType(a.ErrorType)))
	}
	if a.Skew != nil {
		vs = append(vs, clockSkew.Is(*a.Skew))
	}
	if !k.expires.IsZero() {
		vs = append(vs, credentialsExpiry.Is(float64(k.expires.Unix())))
	}
	return vs
}

// knownType bounds the values of a label that a server chooses.
func knownType(t string) string {
	if t == "" {
		return "none"
	}
	for _, row := range denials {
		for _, known := range row.errorTypes {
			if t == known {
				return t
			}
		}
	}
	return "other"
}

package apigateway

import (
	"cmp"
	"encoding/json"
	"net/http"
)

// The texts of the integration's failures, in section 1.3.
const (
	internalServerError = "Internal server error"
	endpointTimedOut    = "Endpoint request timed out"
	networkError        = "Network error communicating with endpoint"
)

// integrate lets the backend answer. Its answers carry no error type: a 403
// without one is G1, the backend's own.
func (c *call) integrate() *answer {
	in := c.method.Integration
	a := in.answer(c)
	a.delay = in.Delay
	if in.Behavior == Answers || in.Behavior == Echoes || in.Behavior == TimesOut {
		a.header = merge(a.header, http.Header{"X-Amzn-Trace-Id": {traceID(c.now)}}) // seen on 200 and 504
	}
	return a
}

func (in Integration) answer(c *call) *answer {
	switch in.Behavior {
	case Echoes:
		return &answer{status: http.StatusOK, body: c.echo()}
	case NotPermitted:
		return internalError(http.StatusInternalServerError, APIConfigurationError, internalServerError)
	case MalformedResponse:
		return internalError(http.StatusBadGateway, Default5XX, internalServerError)
	case Unavailable:
		return &answer{
			row: "503", status: http.StatusServiceUnavailable, response: Default5XX, message: "Service Unavailable",
		}
	case TimesOut:
		return internalError(http.StatusGatewayTimeout, IntegrationTimeout, endpointTimedOut)
	case Unreachable:
		return internalError(http.StatusGatewayTimeout, IntegrationFailure, networkError)
	}
	a := &answer{status: cmp.Or(in.Status, http.StatusOK), body: cmp.Or(in.Body, "{}"), header: in.Header.Clone()}
	if a.status == http.StatusForbidden {
		a.row = "G1"
	}
	return a
}

// echo is the request as a Lambda function with proxy integration sees it, in
// part: secrets are left out, as this is printed in tests.
func (c *call) echo() string {
	header := c.r.Header.Clone()
	for _, secret := range []string{"Authorization", "X-Api-Key", "X-Amz-Security-Token", "Cookie"} {
		if header.Get(secret) != "" {
			header.Set(secret, "[sent]")
		}
	}
	b, err := json.Marshal(map[string]any{
		"httpMethod": c.r.Method, "path": c.path, "query": c.r.URL.Query(), "multiValueHeaders": header,
		"host": c.host, "stage": c.stageName, "sourceIp": c.conn.SourceIP, "body": string(c.body),
	})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

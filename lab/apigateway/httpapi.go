package apigateway

import "net/http"

// answerHTTP is an HTTP API: apigw-requestid, no error types, a 404 for paths
// that do not exist. It has neither resource policy nor WAF nor API keys. Its
// texts are general knowledge, but for the header, which was seen.
func (c *call) answerHTTP() *answer {
	if c.method == nil {
		return notFoundHTTP()
	}
	if a := c.authorizeHTTP(); a != nil {
		return a
	}
	if c.stage.Throttled || c.method.Throttled {
		return plainHTTP("429", http.StatusTooManyRequests, "Too Many Requests")
	}
	in := c.method.Integration
	var a *answer
	switch in.Behavior {
	case Answers, Echoes:
		a = in.answer(c)
	case TimesOut, Unreachable, Unavailable:
		a = plainHTTP("503", http.StatusServiceUnavailable, "Service Unavailable")
	default:
		a = plainHTTP("500", http.StatusInternalServerError, "Internal Server Error")
	}
	a.delay = in.Delay
	return a
}

func (c *call) authorizeHTTP() *answer {
	switch m := c.method; m.Auth {
	case IAM:
		if caller, a := c.identity(); a != nil || caller == nil || c.decide(caller) != nil {
			return plainHTTP("403", http.StatusForbidden, "Forbidden")
		}
	case Lambda, Cognito:
		switch {
		case !m.Authorizer.accepts(c.r) || m.Authorizer.Verdict == Unauthorized:
			return plainHTTP("401", http.StatusUnauthorized, "Unauthorized")
		case m.Authorizer.Verdict == Failed || m.Authorizer.Verdict == Misconfigured:
			return plainHTTP("500", http.StatusInternalServerError, "Internal Server Error")
		case m.Authorizer.Verdict != Allow:
			return plainHTTP("403", http.StatusForbidden, "Forbidden")
		}
	}
	return nil
}

func plainHTTP(row string, status int, message string) *answer {
	return &answer{row: row, status: status, message: message}
}

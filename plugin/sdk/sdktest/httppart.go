package sdktest

import (
	"encoding/json"
	"errors"
	"strconv"
)

// HTTPPart says more about an answer of an [HTTPStub] than its status.
type HTTPPart func(*httpAnswer) error

// RetryAfter adds the header Retry-After, in seconds.
func RetryAfter(seconds int) HTTPPart { return Header("Retry-After", strconv.Itoa(seconds)) }

// Header adds a header.
func Header(name, value string) HTTPPart {
	return func(a *httpAnswer) error {
		a.header.Add(name, value)
		return nil
	}
}

// JSON is a body: anything that marshals to JSON. A json.RawMessage is taken as it is, also when it is none.
func JSON(v any) HTTPPart {
	return func(a *httpAnswer) error {
		if a.body != nil {
			return errors.New("an answer has one body")
		}
		a.header.Set("Content-Type", "application/json")
		if raw, ok := v.(json.RawMessage); ok {
			a.body = raw
			return nil
		}
		doc, err := json.Marshal(v)
		a.body = doc
		return err
	}
}

// Body is a body as it is, of that media type.
func Body(contentType, body string) HTTPPart {
	return func(a *httpAnswer) error {
		if a.body != nil {
			return errors.New("an answer has one body")
		}
		a.header.Set("Content-Type", contentType)
		a.body = []byte(body)
		return nil
	}
}

// CutShort is a body after whose beginning the connection breaks.
func CutShort(beginning string) HTTPPart {
	return func(a *httpAnswer) error {
		a.fault = cutShort
		return Body("application/json", beginning)(a)
	}
}

// Reset breaks the connection instead of answering; the status does not matter. Go's own client repeats a request by itself,
// which takes another answer, if the connection had been used before and the request may be repeated.
func Reset() HTTPPart {
	return func(a *httpAnswer) error {
		a.fault = resets
		return nil
	}
}

// Hang never answers: the request ends when the client gives it up, or with the test. The status does not matter.
func Hang() HTTPPart {
	return func(a *httpAnswer) error {
		a.fault = hangs
		return nil
	}
}

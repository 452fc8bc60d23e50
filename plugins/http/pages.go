package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
)

// fetch sends a request, and those for further pages. The answer is a document {status, headers, body}; that of
// pages has the items of all as its body, and how many there were as pages.
func (s *service) fetch(req *http.Request, c *config) (any, error) {
	var opts []httpapi.CallOption
	if len(c.Expect) > 0 {
		opts = append(opts, httpapi.Expect(c.Expect...))
	}
	if c.Pages == nil {
		resp, err := s.do(req, opts...)
		if err != nil {
			return nil, err
		}
		return documentOf(resp)
	}
	b := book{paging: c.Pages, seen: make(map[string]bool), items: []any{}}
	for req != nil {
		resp, err := s.do(req, opts...)
		if err != nil {
			return nil, fmt.Errorf("page %d: %w", b.pages+1, err)
		}
		next, err := b.add(req, resp)
		if err != nil {
			return nil, err
		}
		sdk.Heartbeat(req.Context(), min(1, float64(b.pages)/float64(b.limit())), fmt.Sprintf("page %d", b.pages))
		if req = following(req, next); req != nil && b.pages == b.limit() {
			return nil, sdk.Permanent(sdk.WithCode(fmt.Errorf("there are more than %d pages", b.limit()), codePages))
		}
	}
	b.first["body"], b.first["pages"] = b.items, b.pages
	return b.first, nil
}

// documentOf makes the document that is stored, as values.
func documentOf(resp *httpapi.Response) (map[string]any, error) {
	raw, err := json.Marshal(resp)
	if err != nil {
		return nil, err
	}
	doc, err := decode(raw)
	if err != nil {
		return nil, err
	}
	object, ok := doc.(map[string]any)
	if !ok {
		return nil, errors.New("an answer is no object")
	}
	return object, nil
}

// book is what pages become.
type book struct {
	paging *paging
	seen   map[string]bool // URLs
	first  map[string]any  // the document of the first page
	items  []any
	pages  int
	size   int // bytes of all answers
}

func (b *book) limit() int { return cmp.Or(b.paging.Limit, defaultPages) }

// add takes the items of a page, and returns where the next one is. Nil = this was the last one.
func (b *book) add(req *http.Request, resp *httpapi.Response) (*url.URL, error) {
	b.pages++
	b.seen[req.URL.String()] = true
	if b.size += len(resp.Body); b.size > sdk.MaxValue {
		return nil, sdk.Permanent(sdk.WithCode(fmt.Errorf("%d pages have %d bytes, the limit is %d", b.pages, b.size, sdk.MaxValue), httpapi.CodeTooLarge))
	}
	doc, err := documentOf(resp)
	if err != nil {
		return nil, err
	}
	if b.first == nil {
		b.first = doc
	}
	found, err := extract(doc, b.paging.Items)
	if err != nil {
		return nil, fmt.Errorf("page %d: %w", b.pages, err)
	}
	items, ok := found.([]any)
	if !ok {
		return nil, b.invalid(fmt.Errorf("%s is %s, want a list", b.paging.Items, kindOf(found)))
	}
	b.items = append(b.items, items...)
	return b.next(req, resp, doc)
}

// next finds the next page. It has to be on the same server, as it is asked with the same credentials.
func (b *book) next(req *http.Request, resp *httpapi.Response, doc any) (*url.URL, error) {
	link := nextLink(resp.Header.Values("Link"))
	if b.paging.Next != "" {
		at, err := lookup(doc, b.paging.Next)
		if err != nil || at == nil {
			return nil, nil //nolint:nilerr // a page without a next one is the last
		}
		text, ok := at.(string)
		if !ok {
			return nil, b.invalid(fmt.Errorf("%s is %s, want a URL", b.paging.Next, kindOf(at)))
		}
		link = text
	}
	if link == "" {
		return nil, nil
	}
	next, err := req.URL.Parse(link)
	switch {
	case err != nil:
		return nil, b.invalid(errors.New("the next page has no URL"))
	case next.Scheme != req.URL.Scheme || next.Host != req.URL.Host:
		return nil, sdk.Permanent(b.invalid(fmt.Errorf("the next page is on another server, %s", next.Host)))
	case b.seen[next.String()]:
		return nil, sdk.Permanent(b.invalid(errors.New("the next page is one that was there already")))
	}
	return next, nil
}

func (b *book) invalid(err error) error {
	return sdk.Downstream(sdk.WithCode(fmt.Errorf("page %d: %w", b.pages, err), httpapi.CodeInvalidResponse))
}

// following makes the request for the next page. Nil = there is none.
func following(req *http.Request, next *url.URL) *http.Request {
	if next == nil {
		return nil
	}
	again := req.Clone(req.Context())
	again.URL = next
	return again
}

// nextLink finds the target with rel=next in headers Link (RFC 8288). "" = there is none.
func nextLink(headers []string) string {
	for _, header := range headers {
		for header != "" {
			_, rest, ok := strings.Cut(header, "<")
			if !ok {
				break
			}
			target, rest, ok := strings.Cut(rest, ">")
			if !ok {
				break
			}
			parameters, _, _ := strings.Cut(rest, "<") // those of this target, and a comma
			header = rest[len(parameters):]
			for p := range strings.SplitSeq(strings.TrimRight(parameters, ", \t"), ";") {
				name, value, _ := strings.Cut(p, "=")
				if strings.EqualFold(strings.TrimSpace(name), "rel") && hasWord(strings.Trim(strings.TrimSpace(value), `"`), "next") {
					return target
				}
			}
		}
	}
	return ""
}

// hasWord reports whether one of the words of a text is that one.
func hasWord(text, word string) bool {
	for w := range strings.FieldsSeq(text) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

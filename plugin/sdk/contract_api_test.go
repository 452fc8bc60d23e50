package sdk_test

import (
	"context"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// apiNumber is a handler of the contract that has an API do its work.
type apiNumber struct{ httpapi.API[number] }

func (a apiNumber) Process(ctx context.Context, in number) (*httpapi.Response, error) {
	return a.Post(ctx, "/increment", in)
}

// apiAny adds a ProcessResults of its own.
type apiAny struct {
	apiNumber

	results func(context.Context, *httpapi.Response) (any, error)
}

func (a apiAny) ProcessResults(ctx context.Context, r *httpapi.Response) (any, error) {
	return a.results(ctx, r)
}

func replacedAPI(context.Context, *httpapi.Response) (any, error) { return number{2}, nil }
func failsAPI(context.Context, *httpapi.Response) (any, error)    { return nil, errSentinel }
func panicsAPI(context.Context, *httpapi.Response) (any, error)   { panic("in results") }

// incrementsByAPI starts an API that answers {"n": 2}.
func incrementsByAPI(t *testing.T) apiNumber {
	t.Helper()
	api := sdktest.HTTP(t)
	api.On("POST", "/increment").Reply(200, sdktest.JSON(number{2})).Repeat()
	client, err := httpapi.New(httpapi.Options{BaseURL: api.URL})
	if err != nil {
		t.Fatal(err)
	}
	return apiNumber{httpapi.API[number]{Client: client}}
}

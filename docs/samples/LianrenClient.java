// A small client for the plain REST face of a Lianren gateway: Java 17, java.net.http, no library.
// Bodies go in and come out as JSON text; read them with the JSON library that your system has already.
//
// It keeps three rules. An order is never held up: Unavailable says that the doctor goes on as without it.
// A call that broke off is repeated with the same request id, and counts once. A person's number travels in
// bodies only, and stands in no log and no exception.

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.UUID;
import java.util.function.Supplier;
import java.util.stream.Collectors;

public final class LianrenClient {

    /** The gateway cannot answer now (5xx), is busy (429), or cannot be reached: go on as without it. */
    public static final class Unavailable extends Exception {
        Unavailable(String message) {
            super(message);
        }
    }

    /** The gateway refuses the call; the body is problem JSON with code, field and detail. */
    public static final class Refused extends Exception {
        public final int status;
        public final String problem;

        Refused(int status, String problem) {
            super("refused with " + status);
            this.status = status;
            this.problem = problem;
        }
    }

    private final HttpClient http = HttpClient.newBuilder()
            .connectTimeout(Duration.ofSeconds(1))
            .build();
    private final URI base;
    private final Supplier<String> token;
    private final Duration patience;

    /** One gateway; token gives a bearer token that counts now. */
    public LianrenClient(URI base, Supplier<String> token, Duration patience) {
        this.base = base;
        this.token = token;
        this.patience = patience;
    }

    /** At reception: what the patient has of the last days, to be shown in a box. */
    public String history(String number, int days) throws Unavailable, Refused, InterruptedException {
        return post("/api/v1/reminders", """
                {"request_id": %s, "patient": {"type": "resident-id", "value": %s},
                 "moment": "reception", "look_back_days": %d}
                """.formatted(newId(), quoted(number), days));
    }

    /** Before the order is signed: the check of what is planned, by the hospital's own names. */
    public String beforeOrder(String number, List<String> names)
            throws Unavailable, Refused, InterruptedException {
        String planned = names.stream()
                .map(name -> "{\"name\": " + quoted(name) + "}")
                .collect(Collectors.joining(", "));
        return post("/api/v1/checks", """
                {"request_id": %s, "patient": {"type": "resident-id", "value": %s}, "planned": [%s]}
                """.formatted(newId(), quoted(number), planned));
    }

    /** 互认: the doctor uses these results; an empty list stands for all that are open. */
    public String recognise(String check, List<String> results)
            throws Unavailable, Refused, InterruptedException {
        return post("/api/v1/checks/" + check + "/decision", """
                {"request_id": %s, "decision": "recognise", "results": [%s]}
                """.formatted(newId(), list(results)));
    }

    /** 不互认: the doctor does not use them, for a published reason. */
    public String decline(String check, List<String> results, String system, String code, String text)
            throws Unavailable, Refused, InterruptedException {
        return post("/api/v1/checks/" + check + "/decision", """
                {"request_id": %s, "decision": "not_recognise", "results": [%s],
                 "system": %s, "code": %s, "text": %s}
                """.formatted(newId(), list(results), quoted(system), quoted(code), quoted(text)));
    }

    /** 引用: the sentences for the record, in "text". */
    public String cite(String check, List<String> results) throws Unavailable, Refused, InterruptedException {
        return post("/api/v1/checks/" + check + "/citations", "{\"results\": [%s]}".formatted(list(results)));
    }

    private String post(String path, String body) throws Unavailable, Refused, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(base.resolve(path))
                .timeout(patience)
                .header("Authorization", "Bearer " + token.get())
                .header("Content-Type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(body, StandardCharsets.UTF_8))
                .build();
        for (int left = 1; ; left--) {
            try {
                HttpResponse<String> answer = http.send(
                        request, HttpResponse.BodyHandlers.ofString(StandardCharsets.UTF_8));
                if (answer.statusCode() == 429 || answer.statusCode() >= 500) {
                    throw new Unavailable("the gateway does not answer now");
                }
                if (answer.statusCode() >= 400) {
                    throw new Refused(answer.statusCode(), answer.body());
                }
                return answer.body();
            } catch (IOException broken) {
                if (left == 0) {
                    throw new Unavailable("the gateway cannot be reached");
                }
            }
        }
    }

    private static String newId() {
        return quoted(UUID.randomUUID().toString());
    }

    private static String list(List<String> texts) {
        return texts.stream().map(LianrenClient::quoted).collect(Collectors.joining(", "));
    }

    /** A JSON string (RFC 8259 section 7). */
    private static String quoted(String text) {
        StringBuilder json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                json.append('\\').append(c);
            } else if (c < 0x20) {
                json.append("\\u%04x".formatted((int) c));
            } else {
                json.append(c);
            }
        }
        return json.append('"').toString();
    }
}

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/** Sends requests with the HTTP client of the JDK, and prints the status and the version of each response, or the exception.
 *  Arguments: the URL; the bytes of a body, or -1 for a GET; "expect" or "-"; how many requests, one after the other. */
public class Send {
    public static void main(String[] arguments) throws Exception {
        int size = Integer.parseInt(arguments[1]);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Trusting()}, new SecureRandom());
        HttpClient client = HttpClient.newBuilder().sslContext(context).connectTimeout(Duration.ofSeconds(10)).build();
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0])).timeout(Duration.ofSeconds(10));
        if (size >= 0) {
            request.POST(HttpRequest.BodyPublishers.ofByteArray(new byte[size]));
            request.expectContinue(arguments[2].equals("expect"));
        }
        for (int count = Integer.parseInt(arguments[3]); count > 0; count--) {
            try {
                HttpResponse<String> response = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
                System.out.println(response.statusCode() + " " + response.version());
            } catch (Exception problem) {
                System.out.println(problem);
            }
        }
        System.exit(0);
    }

    private static class Trusting extends X509ExtendedTrustManager {
        public void checkClientTrusted(X509Certificate[] chain, String type) {}
        public void checkServerTrusted(X509Certificate[] chain, String type) {}
        public void checkClientTrusted(X509Certificate[] chain, String type, java.net.Socket socket) {}
        public void checkServerTrusted(X509Certificate[] chain, String type, java.net.Socket socket) {}
        public void checkClientTrusted(X509Certificate[] chain, String type, javax.net.ssl.SSLEngine engine) {}
        public void checkServerTrusted(X509Certificate[] chain, String type, javax.net.ssl.SSLEngine engine) {}
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }
}

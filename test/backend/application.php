<?php

// An application for the tests: the example that the docs show, a login page, and what else a backend may answer. Every question is written down.

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$example = __DIR__ . '/../../examples/php/authorize.php';

if ($path === '/login') {
    session_start();
    $_SESSION['user'] = $_GET['user'];
    $_SESSION['since'] = time();
    header('Content-Type: application/json');
    echo json_encode(['cookie' => session_name() . '=' . session_id()]);
    return;
}

$note = ['path' => $path, 'method' => $_SERVER['REQUEST_METHOD'], 'headers' => array_change_key_case(getallheaders()), 'body' => file_get_contents('php://input')];
file_put_contents(getenv('NOTES'), json_encode($note) . "\n", FILE_APPEND | LOCK_EX);

switch ($path) {
    case '/authorize':
        require $example;
        break;
    case '/not-found-unless-allowed':
        $allowed = json_decode($note['body'], true)['room'] === 'order:7';
        if (!$allowed) http_response_code(404);
        header('Content-Type: application/json');
        echo json_encode(['allowed' => $allowed]);
        break;
    case '/hang':
        sleep(20);
        break;
    case '/redirect':
        header('Location: /authorize', true, 307);
        break;
    case '/html':
        echo '<html>allowed: true</html>';
        break;
    case '/large':
        header('Content-Type: application/json');
        echo '{"allowed":true,"padding":"';
        for ($i = 0; $i < 160; $i++) echo str_repeat('x', 65536);
        echo '"}';
        break;
    case '/error':
        http_response_code(500);
        throw new RuntimeException('secret detail of the application');
    case '/says':
        // The answer stands in the address.
        http_response_code((int) ($_GET['status'] ?? 200));
        header('Content-Type: application/json; charset=utf-8');
        echo $_GET['json'];
        break;
    default:
        http_response_code(404);
}

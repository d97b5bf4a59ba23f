<?php

declare(strict_types=1);

// The login token that a browser hands to Sidecast, if your application has none yet: HS256 in plain PHP.
// Applications with tymon/jwt-auth, firebase/php-jwt, Lexik or Passport have it already. Run: php login.php [user]

/** Signs a login for a user. `$rooms`: exact names are joined at connect; `order:*` lets the user join any order. */
function sidecast_login_token(string $user, array $rooms = [], int $seconds = 3600): string
{
    $secret = getenv('SIDECAST_JWT_SECRET');
    if ($secret === false || strlen($secret) < 32) throw new RuntimeException('SIDECAST_JWT_SECRET needs 32 bytes or more');
    $encode = fn (string $text) => rtrim(strtr(base64_encode($text), '+/', '-_'), '=');
    $json = fn (array $value) => $encode(json_encode($value, JSON_THROW_ON_ERROR));
    $claims = ['sub' => $user, 'rooms' => array_values($rooms), 'iat' => time(), 'exp' => time() + $seconds];
    $signed = $json(['alg' => 'HS256', 'typ' => 'JWT']) . '.' . $json($claims);
    return $signed . '.' . $encode(hash_hmac('sha256', $signed, $secret, true));
}

if (realpath($_SERVER['SCRIPT_FILENAME'] ?? '') === __FILE__) echo sidecast_login_token($argv[1] ?? '42', ['news', 'order:*']), "\n";
